"""Speed and equality of the distillation difficulty engine, as ratios of one run against the plain loop (plain.py).

    make bench B=difficulty          about 10 minutes on 2 CPU cores; needs `dvc repro victim@smollm2-135m`
    BIG=1 make bench B=difficulty    also a 7B-shaped checkpoint, streamed (streamed.py): writes 13.5 GB, deletes them

48 shuffled samples cut at 512 tokens, the study's victim in its own dtype. Every set costs the plain loop the same full
forward, so it is timed on a few sets (PLAIN) and scaled; the engine runs whole, with all seeds.
"""

import os
import random
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import streamed
import torch
from plain import PlainLoop, bar, padded

from solid_utils.difficulty.difficulty import Difficulty, solid_search
from solid_utils.difficulty.weights import Skeleton
from solid_utils.model import accelerator, models, sampling
from solid_utils.recommend.plan import LLAMA2_70B, Planner, Rates, duration, wave
from solid_utils.settings import params

MODEL, SEEDS, SAMPLES, LENGTH, ORDER = "smollm2-135m", [20, 42, 1234], 48, 512, 0
PLAIN = ["bottom 1", "bottom 10", "bottom 20", "bottom 30", "all"]  # timed, first seed
EQUAL = ["all", "bottom 1", "bottom 15", "layers 7", "layers 3 q,gate", "top 2 + embeddings"]
PLOT = Path("build/difficulty_cost.png")
GPU_24_GB = {"multiply": 1e14, "read": 3e9}  # assumed: FLOP/s in bfloat16, bytes/s of a local disk


class Bench:
    """What all parts share: the victim, the samples, the plain loop's time for one set, and counted work."""

    def __init__(self, study: params.Params):
        self.spec = study.model(MODEL)
        self.victim, self.tokenizer, _ = models.load_victim(MODEL, self.spec)
        self.samples = sampling.samples("evaluation", self.tokenizer, LENGTH, SAMPLES)
        random.Random(ORDER).shuffle(self.samples)
        self.precision = partial(models.precision, self.spec)
        self.depth = self.victim.config.num_hidden_layers
        self.curve = wave(1, self.depth, ["all"])
        self.planner = Planner(Skeleton(self.victim.config, torch.float32), self.samples, "xavier", 1e12, False)

    def difficulty(self, samples: list[dict]) -> Difficulty:
        return Difficulty(self.victim, samples, "xavier", self.tokenizer.pad_token_id)

    def plain(self, samples: list[dict], precision=None) -> PlainLoop:
        return PlainLoop(self.victim, samples, self.tokenizer.pad_token_id, precision or self.precision)


def curve(bench: Bench) -> tuple[float, float]:
    """The whole curve, all seeds. Returns the seconds of one set in the plain loop, and of the whole curve in ours."""
    loop, first = bench.plain(bench.samples), SEEDS[0]
    timed = {name: loop.score(name, first) for name in PLAIN[:2]}  # some before, some after ours
    begun = time.perf_counter()
    with bench.precision():
        losses = bench.difficulty(bench.samples).losses(bench.curve, SEEDS)
    seconds = time.perf_counter() - begun
    timed |= {name: loop.score(name, first) for name in PLAIN[2:]}
    one = median(taken for _, taken in timed.values())
    sets = len(bench.curve) * len(SEEDS)
    plain = sets * plain_flops(bench.planner, bench.samples)
    worst = max(abs(losses[name][first].mean() / score - 1) for name, (score, _) in timed.items())
    print(
        f"curve: {len(bench.curve)} sets x {len(SEEDS)} seeds in {seconds:.0f} s; plain loop {one:.1f} s a set and "
        f"seed (median of {', '.join(PLAIN)}), {duration(one * sets)} scaled; {bench.spec.dtype}: scores differ by "
        f"{worst:.1e} at most; counted ceiling {plain / bench.planner.plan(bench.curve, SEEDS).flops:.1f}"
    )
    bar("difficulty_curve", one * sets / seconds, 3.5)
    return one, seconds


def search(bench: Bench, one: float) -> None:
    """The SOLID search against the plain full curve, and against a plain loop that stops as early."""
    begun = time.perf_counter()
    with bench.precision():
        score = bench.difficulty(bench.samples)
        found = solid_search(lambda names: score.losses(names, SEEDS), bench.depth, 0.05)
    seconds = time.perf_counter() - begun
    scored = ["all", *wave(1, found.evaluated)]
    plain = plain_flops(bench.planner, bench.samples) * len(SEEDS)
    ours = sum(bench.planner.plan([name], SEEDS).flops for name in scored)
    ceilings = (
        f"{len(bench.curve) * plain / ours:.0f} (plain full curve), {len(scored) * plain / ours:.1f} (early stop)"
    )
    print(
        f"search: l* = {found.l_star} after {len(scored)} of {len(bench.curve)} sets in {seconds:.0f} s; counted "
        f"ceilings {ceilings}"
    )
    bar("difficulty_search", one * len(bench.curve) * len(SEEDS) / seconds, 25)
    print(f"against a plain loop with the same early stop: {one * len(scored) * len(SEEDS) / seconds:.2f} x")


def equal(bench: Bench) -> None:
    """The same scores in float32: 6 sets x 16 samples."""
    samples, seed = bench.samples[:16], SEEDS[0]
    loop = bench.plain(samples, nullcontext)
    ours = bench.difficulty(samples).losses(EQUAL, [seed])
    worst = max(abs(ours[name][seed].mean() / loop.score(name, seed)[0] - 1) for name in EQUAL)
    print(f"equal: {', '.join(EQUAL)}; {len(samples)} samples, float32: largest relative difference of a score")
    bar("difficulty_equal", worst, 1e-5, below=True)


def plain_flops(planner: Planner, samples: list[dict]) -> int:
    """Counted as the plan counts: one set and seed of the plain loop, logits at every position."""
    return 2 * padded(samples) * (sum(planner.multiplied) + planner.model.get_output_embeddings().weight.numel())


def peak_share(bench: Bench, seconds: float) -> None:
    """Counted work over time, against this machine's fastest matrix product."""
    dtype = getattr(torch, bench.spec.products or bench.spec.weights)
    rate, peak = (
        bench.planner.plan(bench.curve, SEEDS).flops / seconds,
        accelerator.matmul_rate(dtype, accelerator.device()),
    )
    text = f"{rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s, attention scores left out"
    print(f"share of the matrix-multiply peak: {rate / peak:.0%} ({text})")


def cost_plot(bench: Bench) -> None:
    """Counted work of the whole curve and of a search that stops at once, by layers, samples and seeds."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3), sharey=True)
    ranges = {"layers": [6, 12, 18, 24, 30], "samples": [6, 12, 24, 36, 48], "seeds": [1, 2, 3, 4, 5]}
    for axes, (what, values) in zip(panels, ranges.items(), strict=True):
        points = [counted(bench, **{what: value}) for value in values]
        for name in points[0]:
            axes.plot(values, [point[name] / 1e12 for point in points], marker="o", label=name)
        axes.set(xlabel=what, yscale="log")
    panels[0].set_ylabel("counted TFLOP")
    panels[0].legend()
    figure.suptitle(f"{MODEL}: distillation difficulty, {LENGTH} tokens (others at 30 layers, 48 samples, 3 seeds)")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, bbox_inches="tight")
    print(f"cost against layers, samples and seeds: {PLOT}")


def counted(bench: Bench, layers: int = 30, samples: int = SAMPLES, seeds: int = 3) -> dict[str, int]:
    """FLOPs of the plain full curve, the shared one, and the shared search when the first prefix passes."""
    config = type(bench.victim.config).from_dict(bench.victim.config.to_dict() | {"num_hidden_layers": layers})
    planner = Planner(Skeleton(config, torch.float32), bench.samples[:samples], "xavier", 1e12, False)
    sets, numbers = wave(1, layers, ["all"]), list(range(seeds))
    return {
        "plain full curve": len(sets) * seeds * plain_flops(planner, bench.samples[:samples]),
        "shared full curve": planner.plan(sets, numbers).flops,
        "shared search, l* = 1": planner.plan(wave(1, 1, ["all"]), numbers).flops,
    }


def large_model() -> None:
    """The plan of Llama2-70B on a GPU of 24 GB, at rates that are assumed (drawing: this machine's)."""
    samples = [{"input_ids": [0] * LENGTH, "answer_start": LENGTH // 2}] * SAMPLES
    rates = Rates(draw=accelerator.draw_rate(), **GPU_24_GB)
    planner = Planner(Skeleton(LLAMA2_70B, torch.bfloat16), samples, "xavier", 24e9, True, rates)
    print("Llama2-70B on a 24 GB GPU, first sets of a search:")
    print(planner.plan(wave(1, planner.at_once(SEEDS), ["all"]), SEEDS))
    whole = planner.plan(wave(1, 80, ["all"]), SEEDS)
    print(f"Llama2-70B on a 24 GB GPU, whole curve:\n{whole}")
    apart = duration(whole.plain_passes * whole.pass_bytes / rates.read)
    print(f"  {whole.plain_passes} passes would read for {apart}, these for {duration(whole.times['reading'])}")


def main() -> None:
    study = params.load()
    torch.set_num_threads(study.threads)
    if os.environ.get("BIG"):
        streamed.main()  # first: what the other parts leave in memory must not count
    bench = Bench(study)
    one, seconds = curve(bench)
    search(bench, one)
    equal(bench)
    peak_share(bench, seconds)
    cost_plot(bench)
    large_model()


if __name__ == "__main__":
    main()
