"""What logits give away of a model's head where a deployment shows nothing else, measured beside the attack grid."""

import pandas as pd
import torch
from transformers import PreTrainedModel

from solid_utils.attacks import logits
from solid_utils.core.errors import StudyError
from solid_utils.core.schema import LEAKS
from solid_utils.deployment.deployment_set import deployment_set
from solid_utils.deployment.oracle import Oracle
from solid_utils.model import accelerator
from solid_utils.model.forward import pad
from solid_utils.settings.grammar import noise

DEPLOYMENTS = ("sap", "sap_dp")  # clean logits, by which both are judged; logits under noise new at each asking
POSITIONS = 3  # times the width; a spectrum ends at the width only where there are more
BATCH = 8  # texts at a time
SHARES = (0.9, 0.99)  # of positions whose most likely token shall survive the noise


def measured(model: str, victim: PreTrainedModel, samples: list[dict], pad_id: int) -> pd.DataFrame:
    """One row a deployment, columns schema.LEAKS, from the logits of as many samples as it takes.

    The attacker knows neither the width nor the clean logits: `outside`, `agreement` and `askings` say what his best
    guess at the head is worth, and what averaging away the noise would cost him.
    """
    rows, clean = [], None
    for deployment in DEPLOYMENTS:
        oracle = Oracle(victim, deployment_set(victim, model, deployment), pad_id, noise="fresh")
        head = victim.get_output_embeddings().weight.detach()
        seen = answered(oracle, samples, POSITIONS * head.shape[1])
        clean = seen if clean is None else clean
        found, gap = logits.estimated_width(logits.spectrum(seen))
        row = {"model": model, "deployment": deployment, "queries": oracle.sequences, "positions": len(seen)}
        row |= {"width": head.shape[1], "estimated_width": found, "gap": gap}
        row |= {"outside": logits.outside(head, logits.head_span(seen, head.shape[1]))}
        rows.append(row | surviving(clean, noise(deployment)))
    return pd.DataFrame(rows, columns=LEAKS)


def answered(oracle: Oracle, samples: list[dict], positions: int) -> torch.Tensor:
    """Logits (positions, vocab) of the first samples that have so many; of all of them where they have fewer."""
    parts: list[torch.Tensor] = []
    while sum(map(len, parts)) < positions and (chosen := samples[len(parts) * BATCH :][:BATCH]):
        batch = pad([sample["input_ids"] for sample in chosen], oracle.pad_id)
        parts.append(oracle.outputs(*(tensor.to(accelerator.device()) for tensor in batch)).cpu())
    return torch.cat(parts)[:positions]


def surviving(clean: torch.Tensor, scale: float) -> dict[str, float]:
    """How often the most likely token survives one noise, and how many askings it takes for SHARES of positions."""
    needed = {f"askings_{100 * share:.0f}": askings(clean, scale, share) for share in SHARES}
    return {"agreement": logits.expected_agreement(clean, scale, 1) if scale else 1.0} | needed


def askings(clean: torch.Tensor, scale: float, share: float) -> float:
    """How often to ask each query; one where nothing is added, nan where logits.MOST times are not enough."""
    if not scale:
        return 1
    try:
        return logits.repeats_needed(clean, scale, share)
    except StudyError:
        return float("nan")
