"""SAP-DP while a customer fine-tunes: Laplace noise on the logits of every training step (the paper, B.3)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def in_training(model: nn.Module, scale: float) -> Iterator[None]:
    """For the duration, logits that `model` gives in training mode carry fresh Laplace(0, `scale`) noise, in float32.

    Drawn from torch's own generator, whose state a checkpoint keeps: a resumed training draws the same. Nothing happens
    where the scale is 0, nor in evaluation mode: the paper adds the noise "during the fine-tuning process".
    """
    if not scale:
        yield
        return

    def add(module: nn.Module, _, output):
        if module.training:
            logits = output["logits"].float()
            first, second = torch.empty(2, *logits.shape, device=logits.device).exponential_()
            output["logits"] = logits + scale * (first - second)  # a difference of exponentials is Laplace(0, scale)
        return output

    hook = model.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
