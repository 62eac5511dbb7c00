"""Speed of the distillation difficulty engine, as ratios of one run against the plain loop over Transformers.

    make bench B=difficulty        needs a materialised victim: `dvc repro victim@smollm2-135m`

The plain loop keeps the model in memory, takes the samples in batches of 16 in the given order, padded to the longest,
and runs one full forward, all logits, per secured set. Both give the same scores. A part of the curve is timed (every
STRIDE-th prefix, one seed), which both sides share alike but for the engine's one pass over the random layers.
"""

import time

import numpy as np
import torch

from solid_utils import data, difficulty, models, params, starts
from solid_utils.secured import secured_set

MODEL, SEED, SAMPLES, STRIDE, BATCH = "smollm2-135m", 20, 48, 6, 16
TARGET = 3.5  # on the whole curve with 3 seeds


def plain(model, samples: list[dict], depths: list[int], pad_id: int) -> dict[int, float]:
    """DD of every prefix the plain way."""
    twin, means = models.clone(model), {}
    for depth in depths:
        names = secured_set(twin, f"bottom {depth}").names
        starts.apply(twin, starts.draw(twin, names, "xavier", SEED))  # prefixes are nested: earlier draws stay
        losses = []
        for first in range(0, len(samples), BATCH):
            chosen = samples[first : first + BATCH]
            longest = max(len(sample["input_ids"]) for sample in chosen)
            ids = torch.tensor([s["input_ids"] + [pad_id] * (longest - len(s["input_ids"])) for s in chosen])
            mask = torch.tensor([[1] * len(s["input_ids"]) + [0] * (longest - len(s["input_ids"])) for s in chosen])
            with torch.inference_mode():
                logits = twin(input_ids=ids, attention_mask=mask, use_cache=False).logits
            for row, sample in enumerate(chosen):
                start, end = sample["answer_start"], len(sample["input_ids"])
                losses.append(
                    torch.nn.functional.cross_entropy(logits[row, start - 1 : end - 1].float(), ids[row, start:end])
                )
        means[depth] = float(np.mean([loss.item() for loss in losses]))
    return means


def main() -> None:
    study = params.load()
    torch.set_num_threads(study.threads)
    spec = study.model(MODEL)
    victim, tokenizer, _ = models.load_victim(MODEL, spec)
    samples = data.samples("evaluation", tokenizer, 512, SAMPLES)
    depths = list(range(STRIDE, 31, STRIDE))
    score = difficulty.Difficulty(victim, samples, "xavier", tokenizer.pad_token_id)
    seconds = {}
    with models.precision(spec):
        begun = time.perf_counter()
        shared = {depth: losses.mean() for depth, losses in score.prefixes(depths, SEED).items()}
        seconds["shared"] = time.perf_counter() - begun
        begun = time.perf_counter()
        reference = plain(victim, samples, depths, tokenizer.pad_token_id)
        seconds["plain"] = time.perf_counter() - begun
    worst = max(abs(shared[depth] / reference[depth] - 1) for depth in depths)
    ratio = seconds["plain"] / seconds["shared"]
    print(
        f"{len(depths)} prefixes, {SAMPLES} samples, {spec.dtype}: largest relative difference of a score {worst:.1e}"
    )
    print(f"bar difficulty_prefixes {ratio:.2f} target {TARGET} {'holds' if ratio >= TARGET else 'misses'}")


if __name__ == "__main__":
    main()
