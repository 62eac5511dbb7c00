"""What output logits give away: the width and the span of a secured head, and an argmax behind fresh noise.

Logits are the head's matrix times a final state, so all of them lie in as many dimensions as that state has (Carlini et
al. 2024, arXiv:2403.06634; Finlayson et al. 2024, arXiv:2403.09539). SAP-DP's noise (the paper, B.3) that is drawn
anew for every query averages out; noise that the query fixes does not.
"""

import bisect
import math

import torch
from torch import Tensor

from solid_utils.core.errors import StudyError

NEAR = 64  # most likely tokens that may take the first place from the first one
MOST = 10**6  # repeats of one query
LEAST = 4  # width that is looked for


def spectrum(logits: Tensor) -> Tensor:
    """Singular values, largest first, float64, of stacked logits (positions, vocab).

    Equal rows count once: texts that begin alike have the same logits there, and look like an end of the spectrum.
    """
    return torch.linalg.svdvals(logits.unique(dim=0).double())


def estimated_width(values: Tensor) -> tuple[int, float]:
    """Width of the states that enter the head, and the ratio of singular values there: the widest gap of a spectrum.

    It takes more distinct positions than the width; with fewer there is no gap and the ratio is near 1. A final
    LayerNorm leaves one dimension less, a bias adds one; logits that are capped (Gemma 2) have to be uncapped first.
    The first values, far apart in any model, are passed over.
    """
    gaps = values.clamp(min=torch.finfo(values.dtype).tiny).log().diff().neg()[LEAST - 1 :]
    return gaps.argmax().item() + LEAST, gaps.max().exp().item()


def head_span(logits: Tensor, width: int) -> Tensor:
    """Orthonormal basis (vocab, width) of what the head's columns span: the head but for a (width, width) matrix."""
    return torch.linalg.svd(logits.double(), full_matrices=False)[2][:width].T


def outside(head: Tensor, basis: Tensor) -> float:
    """Share of a head (vocab, width), by squares, that lies outside a span (vocab, width): 0 when it is given away."""
    inside = (basis.T @ head.to(basis)).square().sum() / head.to(basis).square().sum()
    return 1 - inside.item()


def expected_agreement(logits: Tensor, scale: float, repeats: int) -> float:
    """Share of positions whose most likely token survives the mean of `repeats` fresh Laplace(0, scale) noises.

    `logits` (positions, vocab) are the clean ones. The mean counts as normal with variance 2 scale^2 / repeats: exact
    for many repeats, an approximation for few. The first token's own noise z is integrated over; given it, each near
    token stays behind with the probability that a normal variable is below (margin / deviation + z).
    """
    top = logits.double().topk(min(NEAR, logits.shape[1])).values  # (positions, near)
    margins = (top[:, :1] - top[:, 1:]) / (scale * math.sqrt(2 / repeats))
    noise = torch.linspace(-6, 6, 41, dtype=torch.float64, device=logits.device)
    density = torch.softmax(-noise.square() / 2, 0)  # (41,)  # the normal density, scaled to sum to one
    kept = sum(
        share * torch.special.log_ndtr(margins + z).sum(1).exp() for z, share in zip(noise, density, strict=True)
    )
    return kept.mean().item()


def repeats_needed(logits: Tensor, scale: float, agreement: float) -> int:
    """How often to ask each query until the mean's most likely token is the clean one at this share of positions.

    Raises StudyError where a million times is not enough.
    """
    counts, near = range(1, MOST + 1), logits.topk(min(NEAR, logits.shape[1])).values
    place = bisect.bisect_left(counts, agreement, key=lambda repeats: expected_agreement(near, scale, repeats))
    if place == MOST:
        raise StudyError(f"noise averaging: {agreement:.1%} agreement needs over {MOST:,} repeats; ask for less")
    return counts[place]
