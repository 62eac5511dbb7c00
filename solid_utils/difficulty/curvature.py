"""The linear map's residual weighted by what the open part makes of it: the second-order term of KL.

    1/2 E[(s - t)' J' F J (s - t)],   J = d logits / d boundary states,   F = diag(p) - p p'

s - t is a text's whole error, all its tokens at once, so J carries an early token's error to later logits; then
u = J (s - t) is one product, and u' F u is the variance of u under the victim's p. (Not in the paper.)
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from solid_utils.difficulty.both_sides import BothSides
from solid_utils.difficulty.map_kl import logits, pieces
from solid_utils.model.layers import DecoderLayers

FORWARD, DIFFERENCES = "jvp", "differences"
STEP = 1e-2  # of the error itself, in a central difference; float32's rounding is below 1e-3 of the product there


def moved(function: Callable[[Tensor], Tensor], at: Tensor, along: Tensor, way: str) -> tuple[Tensor, Tensor]:
    """The function's value and its derivative along a direction, both (real tokens, vocab).

    By forward mode, in attention's plain form: the fused kernels have no derivative of that kind. An architecture that
    has none either (way DIFFERENCES) goes by central differences.
    """
    if way == FORWARD:
        with sdpa_kernel(SDPBackend.MATH):
            return torch.func.jvp(function, (at,), (along,))
    ahead = function(at + STEP * along)
    return function(at), (ahead - function(at - STEP * along)) / (2 * STEP)


def way_of(function: Callable[[Tensor], Tensor], at: Tensor) -> str:
    """How this model's products are taken: FORWARD where it has forward mode throughout."""
    try:
        value, along = moved(function, at, torch.ones_like(at), FORWARD)
    except (RuntimeError, NotImplementedError):
        return DIFFERENCES
    return FORWARD if along.shape == value.shape else DIFFERENCES


@torch.no_grad()
def curvature(
    layers: DecoderLayers, seen: BothSides, guess: Tensor, last: int, way: str | None = None
) -> tuple[float, str]:
    """The weighted residual in nats, mean over the held-out texts' real tokens, and the way that its products took.

    `guess`: the map's states where layer `last` ends, (held-out texts, tokens, width).
    """
    total = 0.0
    tokens = 0
    for places, own in pieces(seen):
        ids = seen.ids[places]
        mask = seen.mask[places]
        truth = seen.leaving[places]

        def said(state: Tensor, ids: Tensor = ids, mask: Tensor = mask) -> Tensor:
            return logits(layers, state, last, ids, mask).float()

        way = way or way_of(said, truth)
        off = guess[own] - truth  # that of padding, on the right, reaches no logit that is kept
        value, product = moved(said, truth, off, way)
        chances = value.softmax(1)
        mean = (chances * product).sum(1, keepdim=True)
        total += 0.5 * (chances * (product - mean).square()).sum().item()
        tokens += len(value)
    return total / tokens, way
