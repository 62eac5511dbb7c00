"""SEM: train the replacement on the secured part's own outputs, without the rest of the model (paper 3.1, B.2)."""

from collections.abc import Callable

import torch
from torch import nn

from solid_utils.attacks import Plan
from solid_utils.attacks.oracle import Oracle
from solid_utils.layers import DecoderLayers

StateLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def relative_mse(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of |s - t|^2 / |t|^2; states are (tokens, width)."""
    return ((states - target).square().sum(-1) / target.square().sum(-1)).mean()


def mse(states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Plain mean squared error, the paper's loss (B.2)."""
    return (states - target).square().mean()


LOSSES: dict[str, StateLoss] = {"relative_mse": relative_mse, "mse": mse}


def sem(model: nn.Module, oracle: Oracle, samples: list[dict], loss: str) -> Plan:
    """Match the states that leave the secured layers, token ids in, boundary states out; `model` is the attacker's.

    Raises StudyError (from the oracle) where these states are not visible.
    """
    layers, last, distance = DecoderLayers(model), oracle.secured.layers[-1], LOSSES[loss]

    def state_loss(_: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        real = batch["attention_mask"].bool()
        target = oracle.boundary(batch["input_ids"], batch["attention_mask"])[real]
        states = layers.boundary(batch["input_ids"], batch["attention_mask"], last)[real]
        return distance(states.float(), target.float())

    return Plan(
        frozenset(oracle.secured.names), samples, state_loss, "token ids and boundary states", oracle.secured.parameters
    )
