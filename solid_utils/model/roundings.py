"""A head that is another rounding of the embeddings: one matrix in truth, two in a quantised file."""

import torch
from transformers import PreTrainedModel

from solid_utils.model.structure import is_tied

# Relative distance: Qwen2.5-Coder's matrix rounded to 4 and to 6 bits is 0.044 apart, two independent matrices 1.4.
CLOSE = 0.1
ROWS = 4096  # compared at a time


def tie(model: PreTrainedModel) -> str:
    """Tie head and embeddings where they are roundings of one matrix, the head's kept; what was done, or nothing.

    A quantised file keeps the head in more bits, so Transformers loads it untied: 136 million parameters too many in a
    model of 494 million, and an attacker would count the head as secret beside the open embeddings.
    """
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or is_tied(model) or head.weight.shape != embeddings.weight.shape:
        return ""
    if (apart := distance(head.weight, embeddings.weight)) > CLOSE:
        return ""
    embeddings.weight = head.weight
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = True
    model.tie_weights()
    return f"head and embeddings are two roundings of one matrix ({100 * apart:.1f} % apart): tied, the head's is kept"


def distance(left: torch.Tensor, right: torch.Tensor) -> float:
    """|left - right| / |left|, Frobenius norms, summed in float64."""
    pairs = list(zip(left.detach().split(ROWS), right.detach().split(ROWS), strict=True))
    difference = sum((a.double() - b.double()).square().sum().item() for a, b in pairs)
    whole = sum(a.double().square().sum().item() for a, _ in pairs)
    return (difference / whole) ** 0.5 if whole else float("inf")
