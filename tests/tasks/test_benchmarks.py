"""Benchmark items, and tasks against lm-eval's own."""

import json
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import lm_eval
import pytest
import yaml
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from solid_utils.core.errors import StudyError
from solid_utils.data import items
from solid_utils.paper import paper
from solid_utils.settings import params
from solid_utils.tasks import suites
from tests.packaged import C4, EXAMPLES, MMLU, MORE_MMLU, PROBLEMS, write_raw

ORIGINALS = Path(lm_eval.__file__).parent / "tasks"
ALL = sorted({name for suite in suites.SUITES.values() for name in suite})
WITH_EXAMPLES = ("capitals", "elements", "sums_1digit", "sums_2digit", "sums_3digit")


# Suites


def test_suites():
    small, full = suites.SUITES.values()
    assert small == suites.BENCHMARKS
    assert set(small) - set(full) == {"humaneval_short"}  # its problems are in humaneval_choice
    assert (*suites.SUITES, "published") == get_args(params.Evaluation.model_fields["suite"].annotation)


@pytest.mark.parametrize("suite", suites.SUITES)
def test_a_suite_covers_the_papers_six_domains(suite):
    domains = {read(name)["metadata"]["domain"] for name in suites.SUITES[suite]}
    assert domains == set(paper.DOMAINS)


def test_every_benchmark_has_a_task_and_every_task_one_metric():
    assert sorted(path.stem for path in suites.TASKS.glob("*.yaml")) == ALL
    for name in ALL:
        config = read(name)
        assert config["task"] == name
        assert len(config["metric_list"]) == 1
        assert config["dataset_kwargs"]["data_files"] == {"test": f"build/sets/benchmarks/{name}.jsonl"}


def test_only_what_runs_code_says_so():
    assert {name for name in ALL if read(name).get("unsafe_code")} == suites.RUNS_CODE
    assert not suites.RUNS_CODE & set(suites.SUITES["small"])


def read(name: str) -> dict:
    """A task's YAML, functions by name."""
    return load_yaml(suites.TASKS / f"{name}.yaml", resolve_func=False)


# Items


@pytest.fixture
def folder(tmp_path):
    """All item files."""
    items.write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, MORE_MMLU, C4)
    return tmp_path / "items"


def test_items_are_the_same_every_time(folder, tmp_path):
    items.write_benchmarks(tmp_path, tmp_path / "again", MMLU, MORE_MMLU, C4)
    assert sorted(path.stem for path in folder.iterdir()) == ALL
    for name in ALL:
        assert (folder / f"{name}.jsonl").read_bytes() == (tmp_path / "again" / f"{name}.jsonl").read_bytes()


def test_items_are_distinct_and_hold_no_worked_example(folder):
    counts = {}
    for name in ALL:
        rows = items.read_lines(folder / f"{name}.jsonl")
        counts[name] = len(rows)
        assert len({json.dumps(row) for row in rows}) == len(rows)
        if name in WITH_EXAMPLES:
            assert len(items.worked_examples(name)) == 2
            assert not [row for row in rows if row in items.worked_examples(name)]
    offline = {"capitals": 244, "elements": 100, "sums_1digit": 98, "sums_2digit": 100, "sums_3digit": 100}
    rows = {"hellaswag": 6, "c4_cloze": 4, "mmlu_letter": 5, "mmlu_5shot": 7, "mmlu_text": 7, "truthfulqa_mc1": 6}
    assert counts == offline | rows | {"humaneval": 3, "humaneval_choice": 2, "humaneval_short": 2, "gsm8k_cot": 2}


def test_worked_examples_are_plain_yaml():
    """The data stage reads them without loading lm-eval."""
    for name in WITH_EXAMPLES:
        config = yaml.safe_load((suites.TASKS / f"{name}.yaml").read_text())
        assert config["num_fewshot"] == len(config["fewshot_config"]["samples"])


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_sums_have_so_many_digits(digits):
    examples = items.worked_examples(f"sums_{digits}digit")
    for row in [*items.sum_items(digits, examples), *examples]:
        assert len(str(row["first"])) == len(str(row["second"])) == digits


def test_repeated_rows_get_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"mmlu_letter.jsonl: 6 items, 5 distinct; pass distinct rows"):
        items.write_benchmarks(write_raw(tmp_path), tmp_path / "items", [*MMLU, MMLU[0]], MORE_MMLU, C4)
    assert not (tmp_path / "items" / "mmlu_letter.jsonl").exists()


def test_no_cloze_passage_gets_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"c4_cloze.jsonl: 0 items"):
        items.write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, MORE_MMLU, [{"text": "Too short."}])


def test_missing_raw_file_gets_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"HumanEval.jsonl.gz: missing; run `dvc repro fetch`"):
        items.write_benchmarks(tmp_path, tmp_path / "items", MMLU, MORE_MMLU, C4)


@pytest.mark.parametrize(
    ("ending", "passage_ends"),
    [
        ("quietly.", "quietly"),
        ("loudly!", "loudly"),
        ("now.", None),  # three letters
        ("in 1984.", None),
        ("“there”.", None),
        ("quietly", None),  # no sentence end
    ],
)
def test_cloze_rule(ending, passage_ends):
    words = " ".join(["word"] * 50)
    passage = items.cloze_passage(f"{words} {ending} More follows here.")
    if passage_ends is None:
        assert passage is None or passage.endswith(" here")
    else:
        assert passage == f"{words} {passage_ends}"


def test_cloze_passages_have_the_length_they_say():
    assert items.cloze_passage(" ".join(["word"] * 43) + " quietly.") is None
    assert items.cloze_passage(" ".join(["word"] * 44) + " quietly.").split()[-1] == "quietly"
    assert items.cloze_passage(" ".join(["word"] * 75) + " quietly.") is None


@pytest.mark.parametrize(
    ("context", "parts"),
    [
        ("He stops. He turns. then he", ("He stops. He turns.", "then he")),
        ("[step] Press it.", ("[step] Press it.", "")),
        ("He bakes version 1.5 of it", ("", "He bakes version 1.5 of it")),
        ('He says "stop." she', ('He says "stop."', "she")),
    ],
)
def test_hellaswag_context_is_split_as_in_the_original(context, parts):
    row = {"activity_label": "Baking", "ctx": context, "endings": list("abcd"), "expected_index": 1}
    item = items.hellaswag_item(row)
    assert (item["ctx_a"], item["ctx_b"]) == parts
    assert item["label"] == "1"


def test_truthfulqas_true_choice_stands_anywhere():
    places = Counter()
    for number in range(400):
        row = {"question": f"{number}?", "choices": ["no", "yes", "maybe", "never"], "expected_index": 1}
        targets = items.truthfulqa_item(row)["mc1_targets"]
        assert sorted(targets["choices"]) == sorted(row["choices"]) and sorted(targets["labels"]) == [0, 0, 0, 1]
        assert targets["choices"][targets["labels"].index(1)] == "yes"
        places[targets["labels"].index(1)] += 1
    assert all(70 < places[place] < 130 for place in range(4)), places


def test_mmlu_items_carry_examples_of_their_subject():
    item = items.mmlu_item(MMLU[3])
    assert item["examples"] == [items.mmlu_question(row) for row in EXAMPLES]
    assert (item["subject"], item["choices"][item["answer"]]) == ("number theory", "b3")


def test_code_items_hold_the_reference_and_one_mutant():
    rows = [row | {"task_id": f"{row['task_id']}-{number}"} for row in PROBLEMS for number in range(40)]
    drawn = items.code_choice_items(rows)
    assert len(drawn) == 80  # the third problem has no mutant
    references = {row["task_id"]: row["canonical_solution"].rstrip() for row in rows}
    for item in drawn:
        assert item["choices"][item["answer"]] == references[item["task_id"]]
        assert len(set(item["choices"])) == 2
    assert 25 < sum(item["answer"] for item in drawn) < 55  # the place says nothing
    assert drawn == items.code_choice_items(rows)
    assert items.code_choice_items(rows[20:30]) == drawn[20:30]  # each by its own name


def test_the_shortest_code_items():
    code = [{"prompt": "p" * length, "choices": ["", ""]} for length in (5, 3, 9)]
    assert [len(item["prompt"]) for item in items.shortest(code, 2)] == [3, 5]


# Tasks

# Where the rows come from, and what changes no question and no score.
OURS = {"dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split", "test_split"}
OURS |= {"task", "tag", "metadata", "should_decontaminate", "doc_to_decontamination_query"}
# lm-eval says MMLU's subject in a file each, and takes the first examples of its dev split.
MMLU_ONLY = {"description", "fewshot_split", "fewshot_config"}


@pytest.fixture
def no_hub(monkeypatch):
    """lm-eval's humaneval loads its metric from the hub when its module is imported; here a stand-in that runs nothing.

    Returns what the metric was asked.
    """
    asked = []

    class CodeEval:
        def compute(self, references, predictions, k):
            asked.append((references, predictions, k))
            return {"pass@1": float("return a + b" in predictions[0][0])}, {}

    monkeypatch.delitem(sys.modules, "lm_eval.tasks.humaneval.utils", raising=False)
    monkeypatch.setattr("evaluate.load", lambda name: {"code_eval": CodeEval()}[name])
    yield asked
    sys.modules.pop("lm_eval.tasks.humaneval.utils", None)


def plain(value: object) -> object:
    """Functions as their code, to compare those loaded twice."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else getattr(value, "__code__", value)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("hellaswag", "hellaswag/hellaswag.yaml"),
        ("c4_cloze", "lambada/lambada_openai.yaml"),
        ("mmlu_letter", "mmlu/default/_default_template_yaml"),
        ("mmlu_5shot", "mmlu/default/_default_template_yaml"),
        ("mmlu_text", "mmlu/continuation/_continuation_template_yaml"),
        ("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml"),
        ("humaneval", "humaneval/humaneval.yaml"),
        ("gsm8k_cot", "gsm8k/gsm8k-cot.yaml"),
    ],
)
def test_twins_ask_and_score_as_lm_eval_does(no_hub, ours, theirs):
    own, original = load_yaml(suites.TASKS / f"{ours}.yaml"), load_yaml(ORIGINALS / theirs)
    if ours == "gsm8k_cot":
        own["fewshot_config"]["samples"] = own["fewshot_config"]["samples"]()
    else:
        assert own.pop("num_fewshot") == (5 if ours == "mmlu_5shot" else original.pop("num_fewshot", 0))
    assert own["metadata"]["version"] == original["metadata"]["version"]
    default = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
    assert plain(own.pop("metric_list")[0]) in plain(original.pop("metric_list", default))
    if ours == "truthfulqa_mc1":
        assert (own.pop("doc_to_target"), original.pop("doc_to_target")) == ("{{mc1_targets.labels.index(1)}}", 0)
    left_out = OURS | (MMLU_ONLY if ours.startswith("mmlu") else set())
    own, original = ({key: config[key] for key in config if key not in left_out} for config in (own, original))
    assert plain(own) == plain(original)


def make(config: dict, files: dict[str, str], tmp_path: Path) -> ConfigurableTask:
    """A task over local files."""
    source = {"data_files": files, "cache_dir": str(tmp_path / "cache"), "keep_in_memory": True}
    return ConfigurableTask(config=config | {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": source})


def our_task(name: str, folder: Path, **changes) -> ConfigurableTask:
    config = load_yaml(suites.TASKS / f"{name}.yaml") | changes
    return make(config, {"test": str(folder / f"{name}.jsonl")}, folder.parent)


def asked(task: ConfigurableTask) -> list[tuple]:
    task.build_all_requests()
    return [instance.args for instance in task.instances]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("mmlu_letter", "default"), ("mmlu_text", "continuation")], ids=["letter", "text"]
)
@pytest.mark.parametrize("shots", [0, 1, 5])
def test_mmlu_asks_as_lm_evals_subject_with_a_dev_split(folder, tmp_path, ours, theirs, shots):
    """Two subjects in one task of ours, and each as lm-eval's own task with our examples as its dev split."""
    other = [row | {"topic": "anatomy", "question": "Bone?", "examples": EXAMPLES[::-1]} for row in MMLU[:2]]
    theory = [row | {"topic": "abstract algebra"} for row in MMLU]
    items.write_items([items.mmlu_item(row) for row in [*theory, *other]], folder / f"{ours}.jsonl")
    expected = []
    for subject, rows in {"abstract_algebra": theory, "anatomy": other}.items():
        files = {split: str(tmp_path / f"{subject}-{split}.jsonl") for split in ("dev", "test")}
        items.write_items([items.mmlu_question(row) for row in rows[0]["examples"]], Path(files["dev"]))
        items.write_items([items.mmlu_question(row) for row in rows], Path(files["test"]))
        config = load_yaml(ORIGINALS / "mmlu" / theirs / f"mmlu_{subject}.yaml") | {"num_fewshot": shots}
        expected += asked(make(config, files, tmp_path))
    assert asked(our_task(ours, folder, num_fewshot=shots)) == expected


def test_more_shots_than_examples_get_one_line(folder):
    with pytest.raises(StudyError, match="num_fewshot: 6 asked, 5 held out; raise data.benchmark.mmlu_examples"):
        asked(our_task("mmlu_5shot", folder, num_fewshot=6))


@pytest.mark.parametrize(
    ("name", "context", "continuation"),
    [
        ("capitals", "The capital of France is Paris.\nThe capital of Japan is Tokyo.\nThe capital of ", "."),
        ("elements", "The chemical symbol of hydrogen is H.\nThe chemical symbol of gold is Au.\nThe chem", "."),
        ("sums_1digit", "2 + 3 = 5\n8 + 6 = 14\n", ""),
        ("sums_2digit", "23 + 45 = 68\n68 + 27 = 95\n", ""),
        ("sums_3digit", "231 + 456 = 687\n684 + 279 = 963\n", ""),
        ("c4_cloze", "Story ", " quietly"),
        ("hellaswag", "Baking: A man bakes ", " a"),
        ("mmlu_letter", "The following are multiple choice questions (with answers) about number theory.\n\nIs ", " A"),
        ("truthfulqa_mc1", "Q: What is human life expectancy in the United States?\nA: Human life", " a letter"),
    ],
)
def test_prompts(folder, name, context, continuation):
    question, answer = asked(our_task(name, folder))[0]
    assert question.startswith(context)
    assert question == question.rstrip()
    assert answer.startswith(" ") and answer.endswith(continuation) and answer == answer.rstrip()


class Told(LM):
    """A model that says and prefers what it is told."""

    def __init__(self, says=None, likelihood=None) -> None:
        super().__init__()
        self.says, self.likelihood = says, likelihood

    def generate_until(self, requests, **kwargs):
        return [self.says(request.doc) for request in requests]

    def loglikelihood(self, requests, **kwargs):
        return [(self.likelihood(*request.args), False) for request in requests]

    def loglikelihood_rolling(self, requests, **kwargs):
        raise NotImplementedError


def score(model: LM, task: ConfigurableTask) -> dict:
    name = task.config.task
    return lm_eval.evaluate(model, {"tasks": {name: task}}, confirm_run_unsafe_code=True)["results"][name]


@pytest.mark.parametrize(("prefers", "accuracy"), [("reference", 1.0), ("mutant", 0.0), ("neither", None)])
def test_code_choice_compares_whole_solutions(folder, prefers, accuracy):
    references = {row["prompt"]: row["canonical_solution"].rstrip() for row in PROBLEMS}
    signs = {"reference": 1.0, "mutant": -1.0, "neither": 0.0}
    model = Told(likelihood=lambda prompt, text: signs[prefers] * (text == references[prompt]))
    result = score(model, our_task("humaneval_choice", folder))
    if accuracy is None:  # ties go to the first choice, and the reference is not always first
        first = [item["answer"] == 0 for item in items.read_lines(folder / "humaneval_choice.jsonl")]
        accuracy = sum(first) / len(first)
    assert result["acc,none"] == accuracy


def test_generated_code_is_scored_by_code_eval(folder, no_hub):
    solutions = {row["task_id"]: row["canonical_solution"] for row in PROBLEMS}
    task = our_task("humaneval", folder)
    no_hub.clear()
    result = score(Told(says=lambda doc: solutions[doc["task_id"]]), task)
    assert result["pass@1,create_test"] == pytest.approx(1 / 3)  # the stand-in passes sums only
    tests, programs, k = zip(*no_hub, strict=True)
    assert {program for [[program]] in programs} == {row["prompt"] + row["canonical_solution"] for row in PROBLEMS}
    assert {test for [test] in tests} == {f"{row['test']}\ncheck({row['entry_point']})" for row in PROBLEMS}
    assert set(map(tuple, k)) == {(1,)}


def test_gsm8k_takes_strict_and_flexible_matches(folder):
    said = {"3": "2 * 3 = 6. The answer is 6.", "4": "That makes $8 in all"}
    task = our_task("gsm8k_cot", folder)
    result = score(Told(says=lambda doc: said[re.search(r"\d", doc["question"])[0]]), task)
    assert (result["exact_match,strict-match"], result["exact_match,flexible-extract"]) == (0.5, 1.0)
    prompt = asked(task)[0][0]
    assert prompt.count("Q: ") == 9 and prompt.count("The answer is") == 8
    assert math.isclose(result["exact_match_stderr,strict-match"], 0.5)
