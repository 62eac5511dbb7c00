"""SEM: train the replacement on the secured part's own outputs, without the rest of the model (paper 3.1, B.2)."""

from collections.abc import Callable

import torch
from torch import nn

from solid_utils.attacks import Plan
from solid_utils.attacks.part import SecuredPart
from solid_utils.attacks.recorded import Recorded
from solid_utils.secured import SecuredSet

StateLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def relative_mse(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of |s - t|^2 / |t|^2; states are (tokens, width)."""
    return ((states - target).square().sum(-1) / target.square().sum(-1)).mean()


def mse(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Plain mean squared error, the paper's loss (B.2)."""
    return (states - target).square().mean()


LOSSES: dict[str, StateLoss] = {"relative_mse": relative_mse, "mse": mse}


def sem(part: SecuredPart, secured: SecuredSet, samples: list[dict], answers: Recorded, loss: str) -> Plan:
    """Match what leaves the secured part, from what enters it: boundary states, or logits where nothing else is seen.

    `answers` holds the oracle's for every sample. Paper B.2: token ids and boundary states for SOLID, the sixth
    layer's output and the (noisy) logits for SAP-DP.
    """
    distance, seen = LOSSES[loss], part.seen

    def state_loss(_: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return distance(part.leaving(batch).float(), answers.of(batch["number"]).float())

    worked = secured.total - seen.below if seen.outputs_only else secured.parameters
    return Plan(frozenset(secured.names), samples, state_loss, seen.pair, worked)
