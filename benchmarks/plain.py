"""The plain loop over Transformers that the engine is measured against, and the line a bar is printed in."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from solid_utils.deployment import starts
from solid_utils.deployment.secured import secured_set
from solid_utils.model import models
from solid_utils.model.forward import pad

BATCH = 16


def in_order(samples: list[dict]) -> list[list[dict]]:
    return [samples[first : first + BATCH] for first in range(0, len(samples), BATCH)]


def padded(samples: list[dict]) -> int:
    """Tokens of the plain loop's batches, padding included."""
    return sum(len(batch) * max(len(sample["input_ids"]) for sample in batch) for batch in in_order(samples))


class PlainLoop:
    """The model in memory, batches of 16 in the given order padded to the longest, one full forward a set and seed.

    `precision` is entered anew for each set: autocast keeps the casts of weights that this loop overwrites in place.
    """

    def __init__(self, victim, samples: list[dict], pad_id: int, precision: Callable[[], AbstractContextManager]):
        self.victim, self.twin = victim, models.clone(victim)
        self.batches, self.pad_id, self.precision = in_order(samples), pad_id, precision

    def score(self, declaration: str, seed: int) -> tuple[float, float]:
        """DD of one set and seed, and the seconds of its forward; drawing the weights is not counted."""
        with torch.no_grad():
            for own, original in zip(self.twin.parameters(), self.victim.parameters(), strict=True):
                own.copy_(original)
        names = secured_set(self.twin, declaration).names
        starts.apply(self.twin, starts.draw(self.twin, names, "xavier", seed))
        begun = time.perf_counter()
        with self.precision(), torch.inference_mode():
            losses = [loss for batch in self.batches for loss in self.losses(batch)]
        return float(np.mean(losses)), time.perf_counter() - begun

    def losses(self, batch: list[dict]) -> list[float]:
        """Mean loss over each sample's answer tokens."""
        device, losses = self.twin.device, []
        input_ids, mask = (tensor.to(device) for tensor in pad([sample["input_ids"] for sample in batch], self.pad_id))
        logits = self.twin(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
        for row, sample in enumerate(batch):
            first, end = sample["answer_start"], len(sample["input_ids"])
            answer = logits[row, first - 1 : end - 1].float()
            losses.append(cross_entropy(answer, input_ids[row, first:end]).item())
        return losses


def bar(name: str, value: float, target: float, below: bool = False) -> None:
    """One line: does the value reach the target (or, `below`, stay under it)?"""
    holds = value <= target if below else value >= target
    print(f"bar {name} {value:.3g} target {target:g} {'holds' if holds else 'misses'}", flush=True)
