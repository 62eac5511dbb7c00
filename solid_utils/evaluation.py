"""Scores of a model in memory: the offline benchmark suite through lm-eval.

lm-eval supplies tasks, prompts and metrics; only its model class is ours (lean.LeanLM). Nothing here looks anything up
on a hub.
"""

import tempfile
from functools import lru_cache
from pathlib import Path

import datasets
import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from solid_utils.benchmarks import BENCHMARKS, TASKS
from solid_utils.errors import StudyError
from solid_utils.lean import LeanLM

NAN = float("nan")


class _BuiltOnce(ConfigurableTask):
    """A task whose requests are built for the first model and shared by the next ones."""

    _instances = None

    def build_all_requests(self, **settings) -> None:
        if self._instances is None:
            super().build_all_requests(**settings)
        for instance in self._instances:
            instance.resps, instance.filtered_resps = [], {}  # else the first model's answers would count for all


def run_benchmarks(model, tokenizer, items: Path, limit: int | None = None) -> list[dict]:
    """Score a model on every benchmark whose items lie in `items` (see benchmarks.write_benchmarks).

    One row a benchmark: benchmark, domain, shots, metric, value and chance in [0, 1], stderr over items, n items,
    floor (nan: not measured), task_version. `limit` takes the first items of each. Runs in the caller's dtype; under
    autocast, parameters that require gradients are cast once, frozen ones again in every batch.
    Raises StudyError when an item file is missing.
    """
    tasks = _tasks(items.resolve(), limit, _stamps(items))
    outcome = lm_eval.evaluate(LeanLM(model, tokenizer), {"tasks": tasks}, limit=limit, log_samples=False)
    return [_row(task, outcome["results"][name], limit) for name, task in tasks.items()]


def _stamps(items: Path) -> tuple[int, ...]:
    """Times of last change, so that rewritten items are read again."""
    for name in BENCHMARKS:
        if not (items / f"{name}.jsonl").exists():
            raise StudyError(f"{items / name}.jsonl: missing; run `dvc repro sets`")
    return tuple((items / f"{name}.jsonl").stat().st_mtime_ns for name in BENCHMARKS)


@lru_cache(maxsize=4)
def _tasks(items: Path, limit: int | None, stamps: tuple[int, ...]) -> dict[str, _BuiltOnce]:
    """The suite's lm-eval tasks; their requests are built once per process, items and limit."""
    return {name: _task(name, items) for name in BENCHMARKS}


def _task(name: str, items: Path) -> _BuiltOnce:
    """The task of TASKS/name.yaml over items/name.jsonl, held in memory: no cache of datasets is used or left."""
    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it would report even local files to a server
    config = load_yaml(TASKS / f"{name}.yaml")
    with tempfile.TemporaryDirectory() as cache:
        source = {"data_files": {"test": str(items / f"{name}.jsonl")}}
        config["dataset_kwargs"] = source | {"cache_dir": cache, "keep_in_memory": True}
        return _BuiltOnce(config=config)


def _row(task: _BuiltOnce, result: dict, limit: int | None) -> dict:
    """A result row; each task has one metric."""
    metric = task.config.metric_list[0]["metric"]
    stderr = result[f"{metric}_stderr,none"]
    return {
        "benchmark": task.task_name,
        "domain": task.config.metadata["domain"],
        "shots": task.config.num_fewshot,
        "metric": metric,
        "value": float(result[f"{metric},none"]),
        "stderr": NAN if stderr == "N/A" else float(stderr),
        "n": result["sample_len"],
        "chance": _chance(task, limit),
        "floor": NAN,
        "task_version": str(task.VERSION),
    }


def _chance(task: _BuiltOnce, limit: int | None) -> float:
    """Accuracy of guessing: the mean of one over the number of choices; 0 where the answer is a free text."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    shares = [1 / len(task.doc_to_choice(document)) for _, document in task.doc_iterator(limit=limit)]
    return sum(shares) / len(shares)
