"""SEM: train the replacement on the secured part's own outputs, without the rest of the model (paper 3.1, B.2)."""

import torch
from torch import nn

from solid_utils.attacks import distances
from solid_utils.attacks.part import SecuredPart
from solid_utils.attacks.plan import Plan
from solid_utils.attacks.recorded import Recorded
from solid_utils.deployment.secured import SecuredSet


def sem(
    part: SecuredPart,
    secured: SecuredSet,
    samples: list[dict],
    answers: Recorded,
    loss: str,
    first_weight: float = 1.0,
) -> Plan:
    """Match what leaves the secured part, from what enters it: boundary states, or logits where nothing else is seen.

    `answers` holds the oracle's for every sample. Paper B.2: token ids and boundary states for SOLID, the sixth
    layer's output and the (noisy) logits for SAP-DP. A text's first token counts `first_weight` times.
    """
    distance, seen = distances.LOSSES[loss], part.seen

    def state_loss(_: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        errors = distance(part.leaving(batch).float(), answers.of(batch["number"]).float())
        return distances.mean(errors, batch["attention_mask"], first_weight)

    return Plan(frozenset(secured.names), samples, state_loss, seen.worked(secured))
