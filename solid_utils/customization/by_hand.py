"""One step of a customization by hand, for notebook 04: where gradients go, and what LoRA's gradient is made of."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from solid_utils.core.errors import StudyError
from solid_utils.model.layers import hidden
from solid_utils.model.structure import decoder_layers
from solid_utils.training.packed import plain
from solid_utils.training.training import Collator, answer_loss


class Reach(NamedTuple):
    """A decoder layer in one backward: does a gradient go through its output, and how large is it there (norm)?"""

    layer: int
    reached: bool
    gradient: float


def batch_of(sample: dict, model: nn.Module) -> dict[str, Tensor]:
    """A batch of one sample, on the model's device."""
    return {name: tensor.to(next(model.parameters()).device) for name, tensor in Collator(0)([sample]).items()}


def reach(model: nn.Module, sample: dict) -> list[Reach]:
    """Of every decoder layer, from one forward and backward on a sample; dropout off, gradients left as they were.

    Autograd keeps a state only where something below it, or in its own layer, is trained: below the lowest such layer
    there is no gradient at all, whatever is secret there.
    """
    _, layers = decoder_layers(plain(model))
    states: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple, output: object) -> None:
        state = hidden(output)
        if state.requires_grad:
            state.retain_grad()
        states.append(state)

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        backward(model, sample)
    finally:
        for hook in hooks:
            hook.remove()
    norms = [0.0 if state.grad is None else state.grad.float().norm().item() for state in states]
    model.zero_grad()
    return [Reach(number, state.requires_grad, norms[number]) for number, state in enumerate(states)]


def backward(model: nn.Module, sample: dict) -> float:
    """Loss and gradients of one sample's answer, dropout off."""
    training = model.training
    model.eval()
    loss = answer_loss(model, batch_of(sample, model))
    loss.backward()
    model.train(training)
    return loss.item()


def lora_gradient(model: nn.Module, sample: dict) -> tuple[str, Tensor, Tensor]:
    """Of the highest adapted matrix: its name, the gradient of LoRA's B by hand, and autograd's, (outputs, rank).

    y = W x + (alpha / rank) B A x, so dL/dB = (alpha / rank) * sum over tokens of dL/dy (A x)^T (Hu et al. 2021).
    Raises StudyError for a model without adapters on a linear layer.
    """
    adapted = [
        (name, module)
        for name, module in model.named_modules()
        # A stack of experts has a wrapper with adapters, too: its product is another one.
        if hasattr(module, "lora_B") and isinstance(module.get_base_layer(), nn.Linear)
    ]
    if not adapted:
        raise StudyError("by hand: the model has no adapters on a matrix; choose method: lora")
    name, module = adapted[-1]
    seen: dict[str, Tensor] = {}

    def entered(_module: nn.Module, inputs: tuple, output: Tensor) -> None:
        seen["x"] = inputs[0].detach()
        output.register_hook(lambda gradient: seen.update(dy=gradient))

    hook = module.register_forward_hook(entered)
    try:
        backward(model, sample)
    finally:
        hook.remove()
    (adapter,) = module.active_adapters
    low = seen["x"].float() @ module.lora_A[adapter].weight.detach().T  # (1, tokens, rank)
    by_hand = module.scaling[adapter] * torch.einsum("bto,btr->or", seen["dy"].float(), low)
    autograd = module.lora_B[adapter].weight.grad.clone()
    model.zero_grad()
    return name, by_hand, autograd
