"""SEM: train the replacement on the secured part's own outputs, without the rest of the model (paper 3.1, B.2)."""

import torch
from torch import nn

from solid_utils.attacks import Plan, distances
from solid_utils.attacks.oracle import Oracle
from solid_utils.layers import DecoderLayers


def sem(model: nn.Module, oracle: Oracle, samples: list[dict], loss: str, first_weight: float = 1.0) -> Plan:
    """Match the states that leave the secured layers, token ids in, boundary states out; `model` is the attacker's.

    Raises StudyError (from the oracle) where these states are not visible.
    """
    layers, last, distance = DecoderLayers(model), oracle.secured.layers[-1], distances.LOSSES[loss]

    def state_loss(_: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        real = batch["attention_mask"].bool()
        target = oracle.boundary(batch["input_ids"], batch["attention_mask"])[real]
        states = layers.boundary(batch["input_ids"], batch["attention_mask"], last)[real]
        errors = distance(states.float(), target.float())
        return distances.mean(errors, batch["attention_mask"], first_weight)

    return Plan(
        frozenset(oracle.secured.names), samples, state_loss, "token ids and boundary states", oracle.secured.parameters
    )
