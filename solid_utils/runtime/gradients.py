"""What gradients through the secured part tell an attacker: a replica trained on states alone, or on gradients too.

A question of the second oracle gives, for a vector v of his choice, v'J of the secured part's Jacobian J at a text. He
takes it into his loss (Sobolev training, Czarnecki et al. 2017, arXiv:1706.04859):

    |f(x) - y|^2 / |y|^2  +  |v'J_f(x) - g|^2 / |g|^2

with relative errors a token, as in SEM. FT-closed with gradients is the same with a loss further up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.deployment import starts
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.model import models
from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers


@dataclass
class Answered:
    """One batch of questions: what the attacker sent and was told."""

    input_ids: Tensor  # (batch, tokens)
    real: Tensor  # the same, bool
    leaving: Tensor  # states at real positions, (n, width)
    vector: Tensor | None = None  # that was multiplied, (n, width)
    pulled: Tensor | None = None  # the product, (n, width)


@contextmanager
def entering(layers: DecoderLayers, first: int) -> Iterator[list[Tensor]]:
    """For the duration, the states that enter layer `first` take gradients; the list holds the last forward's."""
    held = []

    def begin(_module: nn.Module, args: tuple, named: dict) -> tuple[tuple, dict]:
        held[:] = [(args[0] if args else named["hidden_states"]).detach().requires_grad_(True)]
        return (held[0], *args[1:]) if args else args, named if args else named | {"hidden_states": held[0]}

    hook = layers.layers[first].register_forward_pre_hook(begin, with_kwargs=True)
    try:
        yield held
    finally:
        hook.remove()


def products(model: PreTrainedModel, seen: View, ids: Tensor, vector: Callable[[Tensor], Tensor], keep: bool) -> tuple:
    """States that leave the secured layers, the vector made for them, and its product with their Jacobian.

    Each (batch, tokens, width). The model is a victim, a client of one, or a replica; `keep`: to be trained through.
    """
    layers = DecoderLayers(model)
    with torch.enable_grad(), entering(layers, seen.first) as held:
        leaving = layers.boundary(ids, seen.last)
        chosen = vector(leaving)
        (pulled,) = torch.autograd.grad(leaving, held[0], chosen, create_graph=keep, retain_graph=keep)
    return leaving, chosen, pulled


def ask(model: PreTrainedModel, seen: View, samples: list[dict], batch: int, seed: int | None) -> list[Answered]:
    """Questions to a victim, or to a client; with a `seed`, each with a gradient for a random vector too."""
    stream, found = torch.Generator().manual_seed(seed or 0), []
    for begun in range(0, len(samples), batch):
        ids, mask = pad([sample["input_ids"] for sample in samples[begun : begun + batch]], 0)
        real = mask.bool()
        if seed is None:
            with torch.no_grad():
                found.append(Answered(ids, real, DecoderLayers(model).boundary(ids, seen.last)[real]))
            continue

        def drawn(leaving: Tensor, real: Tensor = real) -> Tensor:
            return torch.randn(leaving.shape, generator=stream) * real[..., None]

        leaving, vector, pulled = products(model, seen, ids, drawn, keep=False)
        found.append(Answered(ids, real, leaving.detach()[real], vector[real], pulled[real]))
    return found


def train(
    replica: PreTrainedModel, secured: SecuredSet, seen: View, answers: list[Answered], steps: int, rate: float
) -> list[float]:
    """Train a replica on what was told, see `descended`. Batches go round in order."""
    return descended(replica, secured, steps, rate, lambda step: distance(replica, seen, answers[step % len(answers)]))


def descended(
    replica: PreTrainedModel, secured: SecuredSet, steps: int, rate: float, loss_at: Callable[[int], Tensor]
) -> list[float]:
    """AdamW on the secret tensors of a replica, in place; returns the loss of each step. `loss_at`: of a step's batch.

    The fused attention has no second derivative, so the replica's is the plain one from here on.
    """
    own = dict(replica.named_parameters())
    for name, parameter in own.items():
        parameter.requires_grad_(name in secured.names)
    replica.set_attn_implementation("eager")
    optimizer = torch.optim.AdamW([own[name] for name in secured.names], rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(steps):
        loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def distance(replica: PreTrainedModel, seen: View, told: Answered) -> Tensor:
    """The loss above on one batch."""
    if told.pulled is None:
        layers = DecoderLayers(replica)
        return relative(layers.boundary(told.input_ids, seen.last)[told.real], told.leaving)

    def vector(leaving: Tensor) -> Tensor:
        return torch.zeros_like(leaving).masked_scatter(told.real[..., None], told.vector)

    leaving, _, pulled = products(replica, seen, told.input_ids, vector, keep=True)
    return relative(leaving[told.real], told.leaving) + relative(pulled[told.real], told.pulled)


def relative(mine: Tensor, theirs: Tensor) -> Tensor:
    """Mean over tokens of the squared error by the square of what was told."""
    return ((mine - theirs).square().sum(-1) / theirs.square().sum(-1)).mean()


def stolen(
    victim: PreTrainedModel, secured: SecuredSet, seen: View, answers: list[Answered], steps: int, rate: float
) -> PreTrainedModel:
    """A replica that begins by handing its input on, trained on what was told."""
    attacker = models.open_part(victim, secured.names)
    starts.apply(attacker, starts.draw(attacker, secured.names, "skip", 42))
    train(attacker, secured, seen, answers, steps, rate)
    return attacker.eval()
