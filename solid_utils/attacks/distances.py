"""How far an attacker's states are from the victim's, token by token, and how much the first token counts (SEM).

The first token of a text is where later layers' attention drains to: on SmolLM2-135M its state is 1.3 times as long as
the median token's after layer 0, 3.2 times after layer 1, 9.5 times after layer 2, 152 times after layer 14.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def mse(states: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the width, the paper's loss (B.2); (tokens, width) each -> (tokens,)."""
    return (states - target).square().mean(-1)


def relative_mse(states: Tensor, target: Tensor) -> Tensor:
    """|s - t|^2 / |t|^2: long states count no more than short ones."""
    return (states - target).square().sum(-1) / target.square().sum(-1)


def cosine(states: Tensor, target: Tensor) -> Tensor:
    """1 - cos(s, t). It does not see a state's length, which the residual stream carries on."""
    return 1 - torch.cosine_similarity(states, target, dim=-1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "relative_mse": relative_mse, "cosine": cosine}


def mean(errors: Tensor, mask: Tensor, first_weight: float) -> Tensor:
    """Mean of errors (tokens,) at the real positions of a mask (batch, tokens), row after row.

    The first token of each row counts `first_weight` times as much as another one; 0 leaves it out.
    """
    first = (mask.cumsum(1) == 1)[mask.bool()]
    weights = torch.where(first, first_weight, 1.0).to(errors)
    return (errors * weights).sum() / weights.sum()
