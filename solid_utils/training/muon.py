"""Muon for matrices beside AdamW for all else, as one optimizer, which is what a Trainer takes.

Muon (Jordan 2024; `torch.optim.Muon`) makes each matrix's step orthogonal, so that directions with small gradients move
as fast as the others: an attack that trains one layer from nothing gains by it. What AdamW is told of rate and decay
holds here too (`match_rms_adamw`, Liu et al. 2025).
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

LIKE_ADAMW = "match_rms_adamw"


class MuonAdamW(Optimizer):
    """Matrices by Muon, all else (vectors, stacked experts) by AdamW without decay. Matrices first in groups and state.

    Embeddings and head are matrices, too, where they are trained; Muon's author leaves them to AdamW.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float, weight_decay: float):
        """`parameters`: what is trained. Raises ValueError without any."""
        trained = list(parameters)
        super().__init__(trained, {"lr": learning_rate})
        matrices = [one for one in trained if one.ndim == 2]
        rest = [one for one in trained if one.ndim != 2]
        self.parts: list[Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, learning_rate, weight_decay, adjust_lr_fn=LIKE_ADAMW))
        if rest:
            self.parts.append(AdamW(rest, learning_rate, weight_decay=0.0))
        self.param_groups = [part.param_groups[0] for part in self.parts]
        self._share()

    def _share(self) -> None:
        """The parts work on this optimizer's groups, where a schedule sets the rate, and on its state."""
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups = [group]
            part.state = self.state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)  # makes new groups and a new state
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step of both. A closure is none of a Trainer's habits: raises ValueError."""
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure")
        for part in self.parts:
            part.step()
