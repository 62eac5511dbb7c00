"""Pairs of a better and a worse answer to one prompt: as samples, and whether a model prefers the better one."""

import numpy as np
import torch
from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.model import sampling
from solid_utils.model.answers import batches, sample_losses


def pairs(name: str, tokenizer, length: int, count: int, items: list[dict] | None = None) -> list[dict]:
    """The first `count` pairs of a set whose prompts leave room for an answer token within `length` tokens.

    Items have prompt, chosen and rejected texts; a pair is its item and the samples `better` and `worse`. Prints how
    many do not fit. Raises StudyError where too few do, and for an item that is no pair.
    """
    items = sampling.read_set(name) if items is None else items
    for item in items:
        if missing := {"prompt", "chosen", "rejected"} - set(item):
            raise StudyError(f"{name} set: item {item.get('id')}: no {sorted(missing)[0]}; SimPO trains on pairs")
    sides = {}
    for side, answer in (("better", "chosen"), ("worse", "rejected")):
        asked = [item | {"answer": item[answer]} for item in items]
        sides[side] = {sample["id"]: sample for sample in sampling.encode(asked, tokenizer, length)}
    # A prompt as long as the length leaves an empty answer: TRL's loss of it is 0 with gradients of nan.
    fitting = [
        item | {"better": sides["better"][item["id"]], "worse": sides["worse"][item["id"]]}
        for item in items
        if item["id"] in sides["better"]
    ]
    if len(fitting) < count:
        raise StudyError(
            f"{name} set: {count} pairs asked, {len(fitting)} of {len(items)} fit {length} tokens; "
            "ask for fewer in params.yaml (tiers) or raise length"
        )
    print(
        f"{name}: {count} pairs; {len(items) - len(fitting)} of {len(items)} prompts leave no room at {length} tokens"
    )
    return fitting[:count]


@torch.inference_mode()
def losses(model: nn.Module, samples: list[dict], pad_id: int) -> np.ndarray:
    """Cross-entropy of each sample's answer in nats a token, (samples,), in their order."""
    found = np.empty(len(samples))
    for batch in batches(samples, pad_id, next(model.parameters()).device):
        found[batch.indices] = sample_losses(model, batch)[:, 0]
    return found


def margins(model: nn.Module, chosen: list[dict], pad_id: int) -> np.ndarray:
    """By how many nats a token the better answer is likelier than the worse one, (pairs,): SimPO's reward without beta.

    (Meng et al. 2024, arXiv:2405.14734, equation 4.)
    """
    better = losses(model, [pair["better"] for pair in chosen], pad_id)
    worse = losses(model, [pair["worse"] for pair in chosen], pad_id)
    return worse - better
