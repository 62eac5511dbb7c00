"""The paper's three distillation attacks (3.1), FT-all, FT-closed, SEM, and some beyond it.

An attack that trains is a function that returns a Plan.
"""

from dataclasses import dataclass

from solid_utils.training.training import Loss


@dataclass(frozen=True)
class Plan:
    """What an attack trains, on which samples, towards which loss."""

    trainable: frozenset[str]  # parameter names of the attacker's model
    samples: list[dict]  # what was asked of the oracle, as training samples
    loss: Loss
    worked: int  # parameters in the attacker's forward and backward pass, for counting FLOPs
