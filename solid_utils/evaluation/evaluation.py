"""Scores of a model in memory on benchmarks, through lm-eval; the offline suites.

lm-eval supplies tasks, prompts and metrics; only its model class is ours (lean.LeanLM). It stands in for the paper's
bigcode harness and for the official finance and law code as well (paper B.5). Nothing here looks anything up on a hub.
"""

import random
import statistics
import tempfile
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import datasets
import evaluate
import lm_eval
import pandas as pd
from lm_eval import utils as templates
from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr, unweighted_mean_stderr
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored, libraries
from solid_utils.evaluation import sandbox
from solid_utils.evaluation.lean import LeanLM
from solid_utils.model.forward import TOKEN_BUDGET
from solid_utils.tasks.suites import BENCHMARKS, RUNS_CODE, TASKS

NAN = float("nan")
REDRAWN = 300  # times: the error of a standard error is then 4 % of it
# lm-eval compiles a task's template anew for every question: most of the time that building requests takes.
templates.env.from_string = lru_cache(maxsize=None)(templates.env.from_string)
FEWSHOT_SEED = 1234  # lm-eval's own default, so that its command draws the same worked examples


class BuiltOnce(ConfigurableTask):
    """A task whose requests are built for the first model and shared by the next ones, unless the limit changes."""

    _instances = None

    def build_all_requests(self, limit: int | None = None, **settings) -> None:
        if self._instances is None or self._limit != limit:
            self._limit = limit
            self.set_fewshot_seed(FEWSHOT_SEED)
            super().build_all_requests(limit=limit, **settings)
        for instance in self._instances:
            instance.resps, instance.filtered_resps = [], {}  # else the first model's answers would count for all


@dataclass(frozen=True)
class Benchmark:
    """A row of the results: lm-eval tasks, by name, and the metric that counts ("acc", filter "none").

    Several tasks are weighed by their items (MMLU, BBH), or all alike where `weighed` is off (LegalBench).
    """

    name: str
    domain: str
    metric: str
    tasks: dict[str, BuiltOnce]
    filter: str = "none"
    weighed: bool = True


def score(model, tokenizer, suite: Sequence[Benchmark], limit: int | None = None) -> Scored:
    """Score a model on a suite in one lm-eval call. One row a benchmark, with the items behind it.

    A row: benchmark, domain, shots, metric, value and chance in [0, 1], stderr over items, n items, floor (of a
    constant answer), task_version, forward_tokens, libraries. `limit` takes the first items of each task. Runs in the
    caller's dtype; under autocast, parameters that require gradients are cast once, frozen ones again in every batch.
    """
    tasks = {name: task for benchmark in suite for name, task in benchmark.tasks.items()}
    # lm-eval's own question about generated code says yes: whether any runs was decided by `without_code`.
    outcome = lm_eval.evaluate(LeanLM(model, tokenizer), {"tasks": tasks}, limit=limit, confirm_run_unsafe_code=True)
    rows = [_row(benchmark, outcome["results"], outcome["samples"], limit) for benchmark in suite]
    items = [item for benchmark in suite for item in _items(benchmark, outcome["samples"])]
    return Scored(rows, items)


def _row(benchmark: Benchmark, results: dict, samples: dict[str, list[dict]], limit: int | None) -> dict:
    metric, tasks = f"{benchmark.metric},{benchmark.filter}", list(benchmark.tasks.values())
    outcomes = [results[name] for name in benchmark.tasks]
    sizes = [result["sample_len"] for result in outcomes]
    stderrs = [result[f"{benchmark.metric}_stderr,{benchmark.filter}"] for result in outcomes]
    return {
        "benchmark": benchmark.name,
        "domain": benchmark.domain,
        "shots": tasks[0].config.num_fewshot,
        "metric": benchmark.metric,
        "value": _mean(benchmark, [float(result[metric]) for result in outcomes], sizes),
        "stderr": _redrawn(benchmark, samples) if "N/A" in stderrs else _stderr(benchmark, stderrs, sizes),
        "n": sum(sizes),
        "chance": _mean(benchmark, [_chance(task, limit) for task in tasks], sizes),
        "floor": _floor(benchmark, limit),
        "task_version": str(tasks[0].VERSION),
        "forward_tokens": TOKEN_BUDGET,
        "libraries": libraries(),
    }


def _mean(benchmark: Benchmark, values: list[float], sizes: list[int]) -> float:
    """Of a benchmark's tasks, as lm-eval's groups have it; one task's value stays as it is, to the last digit."""
    return values[0] if len(values) == 1 else aggregate_subtask_metrics(values, sizes, benchmark.weighed)


def _stderr(benchmark: Benchmark, errors: list, sizes: list[int]) -> float:
    errors = list(map(float, errors))
    if len(errors) == 1:
        return errors[0]
    return float(pooled_sample_stderr(errors, sizes) if benchmark.weighed else unweighted_mean_stderr(errors))


def _redrawn(benchmark: Benchmark, samples: dict[str, list[dict]]) -> float:
    """Standard error of a score that is no mean over items (F1), by drawing the items again; nan where it is a mean.

    lm-eval gives none for it. A mean has none only where it is one of a single item.
    """
    name, task = next(iter(benchmark.tasks.items()))
    pairs = [one[benchmark.metric] for one in samples[name] if one["filter"] == benchmark.filter]
    if len(benchmark.tasks) > 1 or len(pairs) < 2 or not isinstance(pairs[0], tuple):
        return NAN
    draw = random.Random(FEWSHOT_SEED)
    metric = task.aggregation()[benchmark.metric]
    return statistics.stdev(metric(draw.choices(pairs, k=len(pairs))) for _ in range(REDRAWN))


def _items(benchmark: Benchmark, samples: dict[str, list[dict]]) -> list[dict]:
    """{benchmark, item, value, weight} of every item. Where a score is no mean of items (F1), value: was it right?

    Weights are 1; where tasks weigh alike, an item of a task with few items weighs more.
    """
    kept = {name: [one for one in samples[name] if one["filter"] == benchmark.filter] for name in benchmark.tasks}
    mean_size = sum(map(len, kept.values())) / len(kept)
    items = []
    for name, answers in kept.items():
        weight = 1.0 if benchmark.weighed else mean_size / len(answers)
        for answer in answers:
            value = answer[benchmark.metric]
            right = float(value[0] == value[1]) if isinstance(value, tuple) else float(value)
            place = str(answer["doc_id"]) if len(kept) == 1 else f"{name}/{answer['doc_id']}"
            items.append({"benchmark": benchmark.name, "item": place, "value": weight * right, "weight": weight})
    return items


def _chance(task: BuiltOnce, limit: int | None) -> float:
    """Accuracy of guessing: the mean of one over the number of choices; 0 where the answer is a free text."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    shares = [1 / len(task.doc_to_choice(document)) for _, document in task.doc_iterator(limit=limit)]
    return sum(shares) / len(shares)


def _floor(benchmark: Benchmark, limit: int | None) -> float:
    """Score of always giving the same answer, the best one; nan where answers are texts and none comes twice.

    Among choices, always the one at the same place: tasks that weigh by their items share it, in others (LegalBench)
    each has choices, so a best place, of its own. Texts (BBH's True and (A), a sum, LAMBADA's word): each task's
    commonest, taken to be right where it is the target to the letter. A random replica's score is no part of it: that
    is the start of the fully secured deployment, see ratios.benchmark_rule.
    """
    tasks = list(benchmark.tasks.values())
    answers = [_answers(task, limit) for task in tasks]
    choices = tasks[0].OUTPUT_TYPE == "multiple_choice"
    few = benchmark.metric in ("exact_match", "acc") and any(len(set(texts)) < len(texts) for texts in answers)
    if not choices and not few:
        return NAN
    if benchmark.metric == "f1":
        (task,) = tasks  # an F1 is no mean over tasks
        return _best_constant(answers[0], task.aggregation()["f1"])
    if choices and benchmark.weighed:
        return constant_answer_floor(sum(answers, []))
    return _mean(benchmark, list(map(constant_answer_floor, answers)), list(map(len, answers)))


def _best_constant(right: list[int], metric: Callable[[list[tuple[int, int]]], float]) -> float:
    """A metric of (right, given) pairs when the same is always given, the best of it."""
    return max(metric([(one, given) for one in right]) for given in set(right))


def constant_answer_floor(labels: Sequence[Hashable]) -> float:
    """Accuracy of the best constant answer: the share of the commonest label (not in the paper).

    `labels` are the right answers of a multiple-choice benchmark, an item each: what a replica that always says the
    same can score, where chance is one over the number of choices (BoolQ: chance 0.5, majority 0.62).
    Raises StudyError when there is no item or one without a label.
    """
    labels = pd.Series(list(labels), dtype=object)
    if labels.empty or labels.isna().any():
        raise StudyError(f"metrics: {labels.isna().sum()} of {len(labels)} items without a label; pass labelled items")
    return float(labels.value_counts(normalize=True).iloc[0])


def _answers(task: BuiltOnce, limit: int | None) -> list:
    """What is right for each document: a place among the choices, or a text."""
    documents = [document for _, document in task.doc_iterator(limit=limit)]
    if task.OUTPUT_TYPE == "multiple_choice":
        return [_right(task, document) for document in documents]
    return [str(task.doc_to_target(document)) for document in documents]


def _right(task: BuiltOnce, document: dict) -> int:
    """The right choice's place; Winogrande's stands where other tasks have their text."""
    right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    return right if isinstance(right, int) else task.doc_to_choice(document).index(right)


def run_benchmarks(
    model,
    tokenizer,
    items: Path,
    names: tuple[str, ...] = BENCHMARKS,
    limit: int | None = None,
    allow_code: bool = False,
) -> Scored:
    """`score` on the named benchmarks of the offline suites, whose items lie in `items` (see items.write_benchmarks).

    Those that run generated code only with `allow_code`. Raises StudyError when an item file is missing.
    """
    names = without_code(names, RUNS_CODE, allow_code)
    return score(model, tokenizer, _suite(items.resolve(), names, _stamps(items, names)), limit)


def without_code(names: tuple[str, ...], code: Collection[str], allow_code: bool) -> tuple[str, ...]:
    """The names without those in `code`, and a line that says so; with `allow_code` all, if the sandbox works.

    Raises StudyError when generated code is allowed but cannot be isolated.
    """
    running = [name for name in names if name in code]
    if running and allow_code:
        sandbox.check(allow_code)
    elif running:
        print(f"{', '.join(running)}: left out, because generated code is run; allow_code: true in params.yaml runs it")
    return names if allow_code else tuple(name for name in names if name not in code)


@contextmanager
def own_code_eval() -> Iterator[None]:
    """lm-eval's code tasks load their metric from the hub while they load; here it is the sandbox."""
    original = evaluate.load
    evaluate.load = lambda *_, **__: sandbox.CodeEval()
    try:
        yield
    finally:
        evaluate.load = original


def _stamps(items: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    """Times of last change, so that rewritten items are read again."""
    for name in names:
        if not (items / f"{name}.jsonl").exists():
            raise StudyError(f"{items / name}.jsonl: missing; run `dvc repro sets`")
    return tuple((items / f"{name}.jsonl").stat().st_mtime_ns for name in names)


@lru_cache(maxsize=4)
def _suite(items: Path, names: tuple[str, ...], stamps: tuple[int, ...]) -> list[Benchmark]:
    """The named benchmarks; requests are built once per process and items."""
    return [_benchmark(_task(name, items)) for name in names]


def _benchmark(task: BuiltOnce) -> Benchmark:
    """A task of TASKS by itself: each has one metric, and the first of its filters counts."""
    # A metric that is a function in the YAML is HumanEval's, whose score lm-eval calls pass@1.
    metric, filters = task.config.metric_list[0]["metric"], task.config.filter_list or [{"name": "none"}]
    name = metric if isinstance(metric, str) else "pass@1"
    return Benchmark(task.task_name, task.config.metadata["domain"], name, {task.task_name: task}, filters[0]["name"])


def _task(name: str, items: Path) -> BuiltOnce:
    """The task of TASKS/name.yaml over items/name.jsonl."""
    with own_code_eval():
        config = load_yaml(TASKS / f"{name}.yaml")
    return in_memory(config, {"data_files": {"test": str(items / f"{name}.jsonl")}})


def in_memory(config: dict, source: dict, kind: type[BuiltOnce] = BuiltOnce) -> BuiltOnce:
    """A task whose data are local files, held in memory: no cache of datasets is used or left."""
    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it would report even local files to a server
    with tempfile.TemporaryDirectory() as cache:
        return kind(config=config | {"dataset_kwargs": source | {"cache_dir": cache, "keep_in_memory": True}})
