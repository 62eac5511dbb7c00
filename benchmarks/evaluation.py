"""Speed and equality of the evaluation, beside the plain `lm_eval` command on the same tasks and model.

    make bench B=evaluation          a few minutes on 2 CPU cores; needs `dvc repro victim@smollm2-135m`

The first LIMIT items of each benchmark, the study's victim. In float32 the command itself runs and every number and
every item must be equal. In bfloat16, where rounding depends on which requests share a batch, items that flipped are
listed (a CPU without units for it stays in float32), and both are timed: the plain one as the command runs it
(simple_evaluate), its start and the model's loading not counted, with BATCH requests a batch, which serves it better
than its default of one. Ours is timed as for a replica: its requests are built already, for the victim. A batch of
which one answer never ends is timed by itself.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lm_eval
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from plain import bar

from solid_utils.core import paths
from solid_utils.core.scored import Scored
from solid_utils.evaluation.evaluation import run_benchmarks
from solid_utils.evaluation.lean import LeanLM
from solid_utils.model import accelerator, models
from solid_utils.settings import params
from solid_utils.tasks.suites import SUITES, TASKS

MODEL, LIMIT, BATCH = "smollm2-135m", 4, 16
NAMES = (*SUITES["small"], "gsm8k_cot")  # by likelihood, and one that generates
COUNTS = {"gsm8k_cot": "strict-match"}  # the filter that counts, where a task has several
Values = dict[tuple[str, int], float]  # (benchmark, item) -> value


def command() -> tuple[dict, Values]:
    """What the plain command says in float32: its results by task, and its items."""
    folder = paths.CHECKPOINTS / MODEL / "victim"
    with tempfile.TemporaryDirectory() as out:
        call = ["-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={folder},dtype=float32"]
        call += ["--tasks", ",".join(NAMES), "--include_path", str(TASKS), "--limit", str(LIMIT), "--log_samples"]
        call += ["--batch_size", str(BATCH), "--device", str(accelerator.device()), "--output_path", out]
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}  # the model's commit is looked up otherwise, for half a minute
        subprocess.run([sys.executable, *call], check=True, capture_output=True, env=offline)
        results = json.loads(next(Path(out).rglob("results_*.json")).read_text())["results"]
        samples = {
            name: [json.loads(line) for path in Path(out).rglob(f"samples_{name}_*.jsonl") for line in path.open()]
            for name in NAMES
        }
    return results, by_item(samples, results)


def by_item(samples: dict[str, list[dict]], results: dict) -> Values:
    """lm-eval's logged samples -> values of what counts."""
    values = {}
    for name, answers in samples.items():
        kept = COUNTS.get(name, "none")
        metric = next(key.split(",")[0] for key in results[name] if key.endswith(f",{kept}"))
        values |= {(name, one["doc_id"]): float(one[metric]) for one in answers if one["filter"] == kept}
    return values


def ours(model, tokenizer) -> tuple[Scored, Values, float]:
    begun = time.perf_counter()
    scored = run_benchmarks(model, tokenizer, paths.BENCHMARK_ITEMS, NAMES, LIMIT)
    seconds = time.perf_counter() - begun
    return scored, {(item["benchmark"], int(item["item"])): item["value"] for item in scored.items}, seconds


def plain(model, tokenizer) -> tuple[Values, int, float]:
    """As the command runs it, on a model in memory: values, requests and seconds."""
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, device=str(accelerator.device()))
    manager, begun = TaskManager(include_path=str(TASKS)), time.perf_counter()
    found = lm_eval.simple_evaluate(lm, tasks=list(NAMES), task_manager=manager, limit=LIMIT, log_samples=True)
    seconds = time.perf_counter() - begun
    requests = sum(len(one["arguments"]) for name in NAMES for one in found["samples"][name] if counted(name, one))
    return by_item(found["samples"], found["results"]), requests, seconds


def counted(name: str, sample: dict) -> bool:
    return sample["filter"] == COUNTS.get(name, "none")


def flipped(first: Values, second: Values) -> list[str]:
    return [f"{name} {item}" for (name, item), value in sorted(first.items()) if value != second[name, item]]


def equal(victim, tokenizer) -> None:
    """Float32 against the command."""
    results, theirs = command()
    scored, values, _ = ours(victim, tokenizer)
    worst = 0.0
    for row in scored.rows:
        metric = f"{row['metric']},{COUNTS.get(row['benchmark'], 'none')}"
        worst = max(worst, abs(row["value"] - results[row["benchmark"]][metric]))
    differ = flipped(values, theirs)
    print(f"float32, {len(values)} items: numbers differ by {worst:g} at most; items that differ: {differ or 'none'}")
    bar("evaluation_equal", len(differ) + worst, 0, below=True)


def speed(victim, tokenizer) -> None:
    """Against what the command runs, in the dtype that this machine is fast in: plain before and after
    ours, so that a busy machine shows.
    """
    dtype = accelerator.fast_dtype()
    model = victim.to(dtype)
    theirs, requests, before = plain(model, tokenizer)
    _, values, seconds = ours(model, tokenizer)
    _, _, after = plain(model, tokenizer)
    rates = ", ".join(f"{requests / taken:.1f}" for taken in (before, after))
    print(f"{dtype}, {requests} requests: plain {rates} a second, ours {requests / seconds:.1f}")
    print(f"items that flipped: {', '.join(flipped(values, theirs)) or 'none'}")
    bar("evaluation_speed", min(before, after) / seconds, 1)


def never_ends(victim, tokenizer) -> None:
    """Float32: 15 questions in a batch, one of whose answers goes on to the limit, against the plain class, one by one.

    In a batch that stays whole until its last row is done, that took 1.8 times as long as one by one.
    """
    model = victim.float()
    texts = [f"Question: what is {number} + {number}?\nAnswer:" for number in range(15)]
    until = [["\n"]] * 14 + [["never said"]]
    asked = [
        Instance("generate_until", {}, (text, {"until": stops, "max_gen_toks": 256, "do_sample": False}), number)
        for number, (text, stops) in enumerate(zip(texts, until, strict=True))
    ]
    plain_lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device=str(accelerator.device()))
    ends = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = -1  # as for a replica that has not learned to end
    begun = time.perf_counter()
    ours = LeanLM(model, tokenizer).generate_until(asked)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    theirs = plain_lm.generate_until(asked, disable_tqdm=True)
    alone = time.perf_counter() - begun
    model.generation_config.eos_token_id = ends
    print(
        f"15 answers, one of 256 tokens: ours {seconds:.1f} s, one by one {alone:.1f} s; same texts: {ours == theirs}"
    )
    bar("evaluation_never_ends", alone / seconds, 1)


def main() -> None:
    study = params.load()
    torch.set_num_threads(study.threads)
    victim, tokenizer, _ = models.load_victim(MODEL, study.model(MODEL))
    equal(victim, tokenizer)
    never_ends(victim, tokenizer)
    speed(victim, tokenizer)


if __name__ == "__main__":
    main()
