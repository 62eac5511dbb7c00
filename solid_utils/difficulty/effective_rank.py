"""In how many directions the boundary states vary: exp of the entropy of their normalised singular values.

Roy and Vetterli 2007, "The effective rank". States centred, giant ones apart, all texts. (Not in the paper.)
"""

import torch

from solid_utils.difficulty.both_sides import BothSides


def effective_rank(seen: BothSides) -> float:
    """Between 1 and the width."""
    states = seen.leaving[seen.ordinary].double()  # (tokens, width)
    centred = states - states.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).sqrt()
    shares = values / values.sum()
    return torch.special.entr(shares).sum().exp().item()
