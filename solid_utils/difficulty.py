"""Distillation difficulty DD(I): the answer loss with fresh random weights in the secured part (paper 4.2).

    DD(I) = E[ L(theta_0(I)) ],   L = cross-entropy on answer tokens, theta_0(I) = the victim with I drawn afresh

Mean over a sample's answer tokens, then over samples, then over seeds. Sets share work: one random model per seed,
whose states under every prefix are computed once; the victim's states under a single secured layer likewise.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from solid_utils import starts
from solid_utils.forward import answer_logits, length_batches, pad
from solid_utils.layers import DecoderLayers
from solid_utils.models import clone
from solid_utils.secured import secured_set

TOKENS = 2048  # padded tokens a forward; bounds the memory of the kept states, not the result
LOGIT_ROWS = 2048  # answer positions whose float32 log-softmax is held at once


class Batch:
    """A few samples of similar length, padded, with the positions that predict their answers."""

    def __init__(self, samples: list[dict], indices: list[int], pad_id: int, device: torch.device):
        self.indices = indices
        chosen = [samples[index] for index in indices]
        input_ids, attention_mask = pad([sample["input_ids"] for sample in chosen], pad_id)
        keep = torch.zeros_like(input_ids, dtype=torch.bool)
        for row, sample in enumerate(chosen):
            keep[row, sample["answer_start"] - 1 : len(sample["input_ids"]) - 1] = True
        self.targets = torch.roll(input_ids, -1, dims=1)[keep].to(device)  # (answer tokens,)
        self.rows = keep.nonzero()[:, 0].numpy()  # the sample of each answer token
        self.input_ids, self.attention_mask, self.keep = (
            input_ids.to(device),
            attention_mask.to(device),
            keep.to(device),
        )


def batches(samples: list[dict], pad_id: int, device: torch.device) -> list[Batch]:
    """All samples, bucketed by length."""
    groups = length_batches([len(sample["input_ids"]) for sample in samples], TOKENS)
    return [Batch(samples, group, pad_id, device) for group in groups]


@torch.inference_mode()
def sample_losses(model: PreTrainedModel, batch: Batch) -> np.ndarray:
    """Cross-entropy in nats, mean over each sample's answer tokens, float64, (samples of the batch,)."""
    logits = answer_logits(model, batch.input_ids, batch.attention_mask, batch.keep)  # (answer tokens, vocab)
    pieces = zip(logits.split(LOGIT_ROWS), batch.targets.split(LOGIT_ROWS), strict=True)
    losses = [torch.nn.functional.cross_entropy(x.float(), y, reduction="none").cpu() for x, y in pieces]
    losses = torch.cat(losses).double().numpy()
    return np.bincount(batch.rows, weights=losses) / np.bincount(batch.rows)


class Difficulty:
    """DD over one victim and one list of samples. Every method returns per-sample losses, (samples,), in nats."""

    def __init__(self, model: PreTrainedModel, samples: list[dict], start: str, pad_id: int):
        self.model, self.start, self.count = model, start, len(samples)
        self.layers = DecoderLayers(model)
        self.batches = batches(samples, pad_id, next(model.parameters()).device)

    def _collect(self, keys: Iterable, per_batch: Callable[[Batch], Iterable], progress: str) -> dict:
        """Run `per_batch`, which yields (key, losses), over all batches and gather the losses by sample."""
        losses = {key: np.empty(self.count) for key in keys}
        with tqdm(total=len(self.batches) * len(losses), desc=progress, mininterval=5) as bar:
            for batch in self.batches:
                for key, values in per_batch(batch):
                    losses[key][batch.indices] = values
                    bar.update()
        return losses

    def _random_layers(self, wanted: Iterable[int], seed: int) -> dict[int, torch.nn.Module]:
        """Copies of decoder layers with random weights; the draw depends on the seed and the parameter names only."""
        twins = {}
        for index in wanted:
            names = secured_set(self.model, f"layers {index}").names
            tensors = starts.draw(self.model, names, self.start, seed)
            twins[index] = clone(self.layers.layers[index])
            prefix = names[0].partition(f".{index}.")[0] + f".{index}."
            starts.apply(twins[index], {name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
        return twins

    def empty(self) -> np.ndarray:
        """No layer secured: the victim's own loss."""
        return self._collect(["none"], lambda batch: [("none", sample_losses(self.model, batch))], "victim")["none"]

    def everything(self, seed: int) -> np.ndarray:
        """Every parameter random, embeddings and head included: the ceiling DD([L])."""
        stranger = clone(self.model)
        starts.apply(
            stranger, starts.draw(stranger, [name for name, _ in stranger.named_parameters()], self.start, seed)
        )
        return self._collect(["all"], lambda batch: [("all", sample_losses(stranger, batch))], f"all, seed {seed}")[
            "all"
        ]

    def prefixes(self, depths: list[int], seed: int) -> dict[int, np.ndarray]:
        """Layers 0..l-1 random, for every l of `depths`. Prefixes are nested: their random states are computed once."""
        deepest = max(depths)
        twins = self._random_layers(range(deepest), seed)
        randoms = {index: twin.forward for index, twin in twins.items()}

        def per_batch(batch: Batch):
            with torch.inference_mode(), self.layers.replaced(randoms), self.layers.watched(randoms) as states:
                # One pass through all random layers; its tail is the victim's, so it is also the deepest prefix.
                deepest_losses = sample_losses(self.model, batch)
            for depth in depths:
                if depth == deepest:
                    yield depth, deepest_losses
                    continue
                below = {index: self.layers.skip for index in range(depth - 1)}
                with self.layers.replaced(below | {depth - 1: self.layers.given(states[depth - 1])}):
                    yield depth, sample_losses(self.model, batch)

        return self._collect(depths, per_batch, f"prefixes, seed {seed}")

    def singles(self, indices: list[int], seed: int) -> dict[int, np.ndarray]:
        """One layer random, for every layer of `indices`. The victim's states below it are computed once."""
        twins = self._random_layers(indices, seed)

        def per_batch(batch: Batch):
            with torch.inference_mode(), self.layers.watched(range(len(self.layers))) as states:
                sample_losses(self.model, batch)
            for index in indices:
                below = {lower: self.layers.skip for lower in range(index - 1)}
                if index > 0:
                    below[index - 1] = self.layers.given(states[index - 1])
                with self.layers.replaced(below | {index: twins[index].forward}):
                    yield index, sample_losses(self.model, batch)

        return self._collect(indices, per_batch, f"single layers, seed {seed}")


def summary(losses: dict[int, np.ndarray]) -> list[dict]:
    """Rows {seed, dd, stderr, n} of one secured set: one a seed, and their mean.

    Standard errors: over samples; for the mean, over samples of the seed average and over seeds, added in quadrature.
    """
    rows = [
        {"seed": str(seed), "dd": values.mean(), "stderr": standard_error(values), "n": len(values)}
        for seed, values in losses.items()
    ]
    average = np.mean(list(losses.values()), axis=0)
    between = standard_error(np.array([values.mean() for values in losses.values()]))
    spread = float(np.hypot(standard_error(average), between))
    return [*rows, {"seed": "mean", "dd": average.mean(), "stderr": spread, "n": len(average)}]


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean; 0 for a single value, whose spread is unknown."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def solid_search(ceiling: float, difficulty: Callable[[int], float], depth: int, epsilon: float) -> tuple[int, float]:
    """SOLID (paper 4.2): the smallest l with DD({0..l-1}) >= (1 - epsilon) DD([L]). Returns l* and its DD.

    Asks for l = 1, 2, ... and stops at the first that passes; when none does, everything up to `depth` is returned.
    """
    for layers in range(1, depth + 1):
        value = difficulty(layers)
        if value >= (1 - epsilon) * ceiling:
            break
    return layers, value
