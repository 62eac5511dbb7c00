"""The paper's own benchmarks as lm-eval tasks: security (Table 7) and customization (Table 6), from the hub or mirrors.

Security rows have the names, domains, shots and metrics of Table 7, so OpenBookQA counts under reading. lm-eval stands
in for the paper's bigcode harness and for the official finance and law code (B.5). Where the paper leaves open which of
lm-eval's two accuracies it means, its published victims decide: 81.04 on HellaSwag, 44.40 on OpenBookQA and 81.99 on
PIQA (Mistral-7B, Table 28) are accuracies by length-normalised likelihood, 50.26 on ARC-challenge is the plain one.
MT-Bench, which needs a judge, is in mt_bench.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import datasets
import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.qasper.metrics import f1_abstractive, normalize_answer
from lm_eval.tasks.squadv2.task import SQuAD2

from solid_utils.core import paths
from solid_utils.core.scored import Scored
from solid_utils.evaluation.evaluation import (
    Benchmark,
    BuiltOnce,
    in_memory,
    own_code_eval,
    run_benchmarks,
    score,
    without_code,
)
from solid_utils.model import hub
from solid_utils.settings import data_params, params
from solid_utils.tasks import copies
from solid_utils.tasks.downloads import DATA_SETS, NO_NAME
from solid_utils.tasks.suites import SUITES, TASKS

HARNESS = Path(lm_eval.__file__).parent / "tasks"
OWN = TASKS / "published"
SQUAD = "rajpurkar/squad_v2"  # of which lm-eval reads a copy
TAKE_FIRST = {"function": "take_first"}


@dataclass(frozen=True)
class Published:
    """A row of Table 6 or 7: task files (patterns under `folder`), worked examples, lm-eval's metric and its filter."""

    name: str
    domain: str
    files: tuple[str, ...]
    shots: int
    metric: str
    filter: str = "none"
    folder: Path = HARNESS
    code: bool = False  # runs generated programs
    weighed: bool = True  # several tasks count by their items


MBPP = Published("MBPP", "Code", ("mbpp/mbpp.yaml",), 1, "pass_at_1", code=True)  # lm-eval: 3 shots
HUMANEVAL = Published("HumanEval", "Code", ("humaneval/humaneval.yaml",), 0, "pass@1", "create_test", code=True)
GSM8K = Published("GSM8K", "Math", ("gsm8k/gsm8k.yaml",), 8, "exact_match", "strict-match")  # lm-eval: 5 shots

SECURITY = (  # Table 7, in its order. lm-eval's own shots are 0 for all, if nothing is said
    Published("PIQA", "Rsn", ("piqa/piqa.yaml",), 0, "acc_norm"),
    Published("HellaSwag", "Rsn", ("hellaswag/hellaswag.yaml",), 0, "acc_norm"),
    Published("Winogrande", "Rsn", ("winogrande/default.yaml",), 0, "acc"),
    Published("ARC-easy", "Rsn", ("arc/arc_easy.yaml",), 0, "acc"),
    Published("ARC-challenge", "Rsn", ("arc/arc_challenge.yaml",), 0, "acc"),
    Published("OpenBookQA", "Read", ("openbookqa/openbookqa.yaml",), 0, "acc_norm"),
    Published("LAMBADA", "Read", ("lambada/lambada_openai.yaml",), 0, "acc"),
    Published("BoolQ", "Read", ("super_glue/boolq/default.yaml",), 0, "acc"),
    Published("SQuADv2_EM", "Read", ("squadv2/squadv2.yaml",), 2, "HasAns_exact"),
    Published("SQuADv2_F1", "Read", ("squadv2/squadv2.yaml",), 2, "HasAns_f1"),
    Published("NaturalQuestions", "Knl", ("nq_open/nq_open.yaml",), 5, "exact_match", "remove_whitespace"),
    Published("TriviaQA", "Knl", ("triviaqa/default.yaml",), 5, "exact_match", "remove_whitespace"),
    HUMANEVAL,
    MBPP,
    GSM8K,
    Published("MMLU", "Gen", ("mmlu/default/mmlu_*.yaml",), 5, "acc"),
    # lm-eval's "bbh" is chain of thought; Table 7 says accuracy with three worked examples.
    Published("BBH", "Gen", ("bbh/fewshot/[a-z]*.yaml",), 3, "exact_match", "remove_whitespace"),
)
MEDICAL = ("mmlu/default/mmlu_anatomy.yaml", "mmlu/default/mmlu_professional_medicine.yaml")
CUSTOMIZATION = (  # Table 6, without MT-Bench
    HUMANEVAL,
    MBPP,
    GSM8K,
    Published("MMLU_Medical", "Medical", MEDICAL, 5, "acc"),
    Published("FPB", "Finance", ("fpb.yaml",), 0, "f1", folder=OWN),
    Published("LegalBench", "Law", ("legalbench_*.yaml",), 0, "acc", folder=OWN, weighed=False),
)


def run_suite(model, tokenizer, study: params.Params, wanted: params.Evaluation) -> Scored:
    """Score a model on the suite that a tier asks for: an offline one, or Table 7. Raises what they raise."""
    if wanted.suite == "published":
        return score(model, tokenizer, suite(SECURITY, study.published, study.allow_code), wanted.limit)
    return run_benchmarks(model, tokenizer, paths.BENCHMARK_ITEMS, SUITES[wanted.suite], wanted.limit, study.allow_code)


def run_domain(model, tokenizer, study: params.Params, domain: str, limit: int | None) -> Scored:
    """Score a model on Table 6's benchmarks of a customization's domain ("law"); nothing where all are left out."""
    rows = tuple(row for row in CUSTOMIZATION if row.domain.lower() == domain)
    kept = suite(rows, study.published, study.allow_code)
    return score(model, tokenizer, kept, limit) if kept else Scored()


@cache
def suite(rows: tuple[Published, ...], settings: data_params.Published, allow_code: bool) -> list[Benchmark]:
    """The benchmarks of a table, once per process.

    HumanEval and MBPP are among them only with `allow_code`; else one line says that they are left out.
    Raises StudyError where a data set is not to be had, and where generated code is allowed but cannot be isolated.
    """
    copies.configurations.cache_clear()  # a copy may have been mended since
    code = {row.name for row in rows if row.code}
    kept = without_code(tuple(row.name for row in rows), code, allow_code)
    return [_benchmark(row, settings) for row in rows if row.name in kept]


def _benchmark(row: Published, settings: data_params.Published) -> Benchmark:
    files = [path for pattern in row.files for path in sorted(row.folder.glob(pattern))]
    tasks = [_task(path, row.shots, row.filter, settings) for path in files]
    return Benchmark(row.name, row.domain, row.metric, {t.task_name: t for t in tasks}, row.filter, row.weighed)


@cache
def _task(path: Path, shots: int, answer_filter: str, settings: data_params.Published) -> BuiltOnce:
    """One lm-eval task; its requests are built once per process."""
    with own_code_eval():
        config = load_yaml(path) | {"num_fewshot": shots}
    kind = HasAnswer if "class" in config else BuiltOnce
    for key in ("class", "tag"):
        config.pop(key, None)
    if "metric_list" in config:  # the standard error of a perplexity, which no row shows, takes minutes
        config["metric_list"] = [one for one in config["metric_list"] if one["metric"] != "perplexity"]
    if answer_filter == "remove_whitespace":  # BBH has none, and some tokenizers leave " False" where "False" is right
        config["filter_list"] = [{"name": answer_filter, "filter": [{"function": answer_filter}, TAKE_FIRST]}]
    return _loaded(config, kind, config.get("dataset_path", SQUAD), settings)


def _loaded(config: dict, kind: type[BuiltOnce], repo: str, settings: data_params.Published) -> BuiltOnce:
    """The task with its data, from the mirror, where one is set, else from the hub."""
    with hub.to_be_had(repo, settings):
        if settings.mirror:
            _check_copy(repo, config.get("dataset_name"), settings)
            return in_memory(config | {"dataset_path": hub.copy(repo, settings)}, {}, kind)
        return kind(config=config | {"dataset_path": repo, "dataset_kwargs": {"revision": hub.REVISIONS[repo]}})


def _check_copy(repo: str, name: str | None, settings: data_params.Published) -> None:
    """Raises StudyError where the copy of what a task reads is not whole; a missing one is left to the loading."""
    place = hub.place(repo, settings)
    name = name or NO_NAME
    for one in DATA_SETS if place.is_dir() else ():
        if one.repo == repo and name in one.names():
            for split in one.splits:
                copies.verify(place, one, name, split)


class HasAnswer(BuiltOnce, SQuAD2):
    """lm-eval's SQuAD v2, asked and scored where there is an answer: HasAns EM and F1 by item, in [0, 1].

    lm-eval also asks for the likelihood of "unanswerable" and, for its metric, loads a script from the hub. HasAns
    scores need neither: the likelihood counts above a threshold of 1 only, and EM and F1 are SQuAD's official ones.
    Worked examples are lm-eval's, which draws them for the unanswered questions as well.
    """

    def __init__(self, config: dict) -> None:
        ConfigurableTask.__init__(self, config=config | {"metadata": {"version": self.VERSION}})

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        super().set_fewshot_seed(seed)
        self._next = 0  # the question whose worked examples are drawn next

    def doc_iterator(self, *, limit: int | None = None, **kwargs) -> Iterator[tuple[int, dict]]:
        """The answered questions, under lm-eval's own numbers; `limit` counts these."""
        answered = (index for index, found in enumerate(self.eval_docs["answers"]) if found["text"])
        return ((index, self.eval_docs[index]) for index in islice(answered, limit))

    def fewshot_context(self, doc: dict, num_fewshot: int, *args, **kwargs) -> str:
        # One generator draws for one question after the other, so those that are left out must draw, too.
        while num_fewshot and self.eval_docs[self._next]["id"] != doc["id"]:
            self.sampler.sample(n=num_fewshot)
            self._next += 1
        self._next += 1
        return super().fewshot_context(doc, num_fewshot, *args, **kwargs)

    # lm-eval 0.4.13 hands these two an argument that its SQuAD2 does not take, so with worked examples it breaks off.
    def doc_to_text(self, doc: dict, template: str | None = None) -> str:
        return super().doc_to_text(doc)

    def doc_to_target(self, doc: dict, template: str | None = None) -> str:
        return super().doc_to_target(doc)

    def construct_requests(self, doc: dict, ctx: str, **kwargs) -> list[Instance]:
        return super().construct_requests(doc, ctx, **kwargs)[:1]

    def process_results(self, doc: dict, results: list[str]) -> dict[str, float]:
        right = [answer for answer in doc["answers"]["text"] if normalize_answer(answer)] or [""]
        exact = max(float(normalize_answer(results[0]) == normalize_answer(answer)) for answer in right)
        return {
            "HasAns_exact": exact,
            "HasAns_f1": max(exact, *(float(f1_abstractive(results, [answer])) for answer in right)),
        }

    def aggregation(self) -> dict:
        return {"HasAns_exact": mean, "HasAns_f1": mean}


def fpb_test(sentences: datasets.Dataset) -> datasets.Dataset:
    """The quarter of Financial PhraseBank that FinGPT's benchmark (the paper's reference) tests on."""
    return sentences.train_test_split(seed=42)["test"]


def weighted_f1(pairs: list[tuple[int, int]]) -> float:
    """F1 of each class, weighed by its share, from (right, predicted) classes. Which F1 Table 6 means is not said."""
    from sklearn.metrics import f1_score  # an eighth of what every process that attacks or scores takes to start

    right, predicted = zip(*pairs, strict=True)
    return float(f1_score(right, predicted, average="weighted"))
