"""Benchmark items and tasks, and the suite against lm-eval with its own HFLM."""

import json
import math
import socket
from pathlib import Path

import lm_eval
import pytest
import yaml
from conftest import byte_llama
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml

from solid_utils import benchmarks, evaluation, schema
from solid_utils.errors import StudyError
from solid_utils.evaluation import run_benchmarks
from solid_utils.lean import LeanLM

MMLU = [
    {"question": f"Is {number} odd?", "correct_answer": "B", "topic": "number theory"}
    | {f"answer_{letter}": f"{letter}{number}" for letter in "abcd"}
    for number in range(5)
]
SENTENCE = "The quick brown fox jumps over the lazy dog and then it sleeps"  # 13 words
C4 = [{"text": f"Story {number}. " + f"{SENTENCE} quietly. " * 6} for number in range(4)]


def write_raw(folder: Path) -> Path:
    """A raw data folder with a few rows in the sources' schema."""
    hellaswag = [
        {
            "activity_label": "Baking",
            "ctx": f"A man bakes {n} cakes. he",
            "endings": list("abcd"),
            "expected_index": n % 4,
        }
        for n in range(6)
    ]
    truthful = [
        {"question": f"What is {n}?", "choices": ["a number", "a letter", "a fish"][: 2 + n % 2], "expected_index": 0}
        for n in range(6)
    ]
    for name, rows in {"hellaswag": hellaswag, "truthfulqa_mc1": truthful}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def items(tmp_path):
    """The suite's item files."""
    benchmarks.write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, C4)
    return tmp_path / "items"


# Items


def test_items_are_the_same_every_time(items, tmp_path):
    benchmarks.write_benchmarks(tmp_path, tmp_path / "again", MMLU, C4)
    for name in benchmarks.BENCHMARKS:
        assert (items / f"{name}.jsonl").read_bytes() == (tmp_path / "again" / f"{name}.jsonl").read_bytes()


def test_items_are_distinct_and_hold_no_worked_example(items):
    counts = {}
    for name in benchmarks.BENCHMARKS:
        rows = benchmarks.read_lines(items / f"{name}.jsonl")
        counts[name] = len(rows)
        assert len({json.dumps(row) for row in rows}) == len(rows)
        if name in ("capitals", "elements", "sums_1digit", "sums_2digit"):
            assert len(benchmarks.worked_examples(name)) == 2
            assert not [row for row in rows if row in benchmarks.worked_examples(name)]
    offline = {"capitals": 244, "elements": 100, "sums_1digit": 98, "sums_2digit": 100}
    assert counts == offline | {"hellaswag": 6, "c4_cloze": 4, "mmlu_letter": 5, "truthfulqa_mc1": 6}


def test_repeated_rows_get_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"mmlu_letter.jsonl: 6 items, 5 distinct; pass distinct rows"):
        benchmarks.write_benchmarks(write_raw(tmp_path), tmp_path / "items", [*MMLU, MMLU[0]], C4)
    assert not (tmp_path / "items" / "mmlu_letter.jsonl").exists()


def test_no_cloze_passage_gets_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"c4_cloze.jsonl: 0 items"):
        benchmarks.write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, [{"text": "Too short."}])


def test_missing_raw_file_gets_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"hellaswag.jsonl: missing; run `dvc repro fetch`"):
        benchmarks.write_benchmarks(tmp_path, tmp_path / "items", MMLU, C4)


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
    passage = benchmarks.cloze_passage(f"{words} {ending} More follows here.")
    if passage_ends is None:
        assert passage is None or passage.endswith(" here")
    else:
        assert passage == f"{words} {passage_ends}"


def test_cloze_passages_have_the_length_they_say():
    assert benchmarks.cloze_passage(" ".join(["word"] * 43) + " quietly.") is None
    assert benchmarks.cloze_passage(" ".join(["word"] * 44) + " quietly.").split()[-1] == "quietly"
    assert benchmarks.cloze_passage(" ".join(["word"] * 75) + " quietly.") is None


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
    item = benchmarks.hellaswag_item(row)
    assert (item["ctx_a"], item["ctx_b"]) == parts
    assert item["label"] == "1"


def test_truthfulqa_lists_the_true_choice_first():
    row = {"question": "?", "choices": ["no", "yes", "maybe"], "expected_index": 1}
    item = benchmarks.truthfulqa_item(row)
    assert item["mc1_targets"] == {"choices": ["yes", "no", "maybe"], "labels": [1, 0, 0]}


# Tasks


def code(value: object) -> object:
    """A function's code, to compare functions loaded twice; anything else as it is."""
    return getattr(value, "__code__", value)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("hellaswag", "hellaswag/hellaswag.yaml"),
        ("c4_cloze", "lambada/lambada_openai.yaml"),
        ("mmlu_letter", "mmlu/default/_default_template_yaml"),
        ("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml"),
    ],
)
def test_twins_ask_and_score_as_lm_eval_does(ours, theirs):
    own = load_yaml(benchmarks.TASKS / f"{ours}.yaml")
    original = load_yaml(Path(lm_eval.__file__).parent / "tasks" / theirs)
    for key in ("output_type", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "description"):
        if key in original or key != "description":  # mmlu's description stands in its subjects' files
            assert code(own.get(key)) == code(original.get(key)), key
    assert own["metadata"]["version"] == original["metadata"]["version"]
    assert own["metric_list"][0] in original["metric_list"]


def test_every_benchmark_has_a_task_and_every_task_one_metric():
    assert sorted(path.stem for path in benchmarks.TASKS.glob("*.yaml")) == sorted(benchmarks.BENCHMARKS)
    for name in benchmarks.BENCHMARKS:
        config = load_yaml(benchmarks.TASKS / f"{name}.yaml", resolve_func=False)
        assert config["task"] == name
        assert len(config["metric_list"]) == 1
        assert config["metadata"]["domain"] in {"Rsn", "Read", "Knl", "Math", "Gen"}


@pytest.mark.parametrize(
    ("name", "context", "continuation"),
    [
        ("capitals", "The capital of France is Paris.\nThe capital of Japan is Tokyo.\nThe capital of ", "."),
        ("elements", "The chemical symbol of hydrogen is H.\nThe chemical symbol of gold is Au.\nThe chem", "."),
        ("sums_1digit", "2 + 3 = 5\n8 + 6 = 14\n", "\n"),
        ("sums_2digit", "23 + 45 = 68\n68 + 27 = 95\n", "\n"),
        ("c4_cloze", "Story ", " quietly"),
        ("hellaswag", "Baking: A man bakes ", " a"),
        ("mmlu_letter", "The following are multiple choice questions (with answers) about number theory.\n\nIs ", " A"),
        ("truthfulqa_mc1", "Q: What is human life expectancy in the United States?\nA: Human life", " a number"),
    ],
)
def test_prompts(items, name, context, continuation):
    task = evaluation._task(name, items)
    task.build_all_requests()
    asked, answer = task.instances[0].args
    assert asked.startswith(context)
    assert asked == asked.rstrip()
    assert answer.startswith(" ") and answer.endswith(continuation)


# The suite


def test_rows(items, tokenizer):
    rows = {row["benchmark"]: row for row in run_benchmarks(byte_llama(0), tokenizer, items).rows}
    assert tuple(rows) == benchmarks.BENCHMARKS
    assert all(list(row) == schema.OUTCOME for row in rows.values())
    assert rows["truthfulqa_mc1"]["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert rows["truthfulqa_mc1"]["task_version"] == "2.0"
    assert [rows[name]["chance"] for name in ("hellaswag", "mmlu_letter", "capitals")] == [0.25, 0.25, 0.0]
    assert [rows[name]["shots"] for name in ("hellaswag", "capitals", "sums_2digit")] == [0, 2, 2]
    assert [rows[name]["metric"] for name in ("hellaswag", "mmlu_letter")] == ["acc_norm", "acc"]
    assert rows["capitals"]["n"] == 244
    assert all(0 <= row["value"] <= 1 and math.isnan(row["floor"]) for row in rows.values())
    assert {row["n"] for row in run_benchmarks(byte_llama(0), tokenizer, items, limit=2).rows} == {2}


def test_scores_equal_lm_evals_own(items, tokenizer):
    model = byte_llama(1)
    rows = run_benchmarks(model, tokenizer, items, limit=5).rows
    tasks = {name: evaluation._task(name, items) for name in benchmarks.BENCHMARKS}
    theirs = lm_eval.evaluate(HFLM(pretrained=model, tokenizer=tokenizer, device="cpu"), {"tasks": tasks}, limit=5)
    for row in rows:
        result = theirs["results"][row["benchmark"]]
        assert row["value"] == result[f"{row['metric']},none"]
        assert row["stderr"] == result[f"{row['metric']}_stderr,none"]


def test_items_give_the_scores(items, tokenizer, monkeypatch):
    """Also where a benchmark has several tasks, weighed by size or not."""

    def guesses(_, asked, **kwargs):
        return [(float(-sum(text[2]) * number % 7), number % 3 == 0) for number, text in enumerate(asked)]

    monkeypatch.setattr(LeanLM, "_loglikelihood_tokens", guesses)  # a tiny random model is right nowhere
    tasks = {name: evaluation._task(name, items) for name in ("truthfulqa_mc1", "mmlu_letter")}
    suite = [
        *evaluation._suite(items, ()),
        evaluation.Benchmark("by size", "Gen", "acc", tasks),
        evaluation.Benchmark("alike", "Gen", "acc", tasks, weighed=False),
    ]
    scored = evaluation.score(byte_llama(0), tokenizer, suite, limit=99)
    for row in scored.rows:
        own = [item for item in scored.items if item["benchmark"] == row["benchmark"]]
        mean = sum(item["value"] for item in own) / sum(item["weight"] for item in own)
        assert mean == pytest.approx(row["value"], abs=1e-12)
        assert row["n"] == len(own) == len({item["item"] for item in own})
    values = {row["benchmark"]: row["value"] for row in scored.rows}
    assert values["by size"] == pytest.approx((6 * values["truthfulqa_mc1"] + 5 * values["mmlu_letter"]) / 11)
    assert values["alike"] == pytest.approx((values["truthfulqa_mc1"] + values["mmlu_letter"]) / 2)
    assert values["alike"] != values["by size"]
    weights = {item["item"]: item["weight"] for item in scored.items if item["benchmark"] == "alike"}
    assert [weights["truthfulqa_mc1/5"], weights["mmlu_letter/4"]] == pytest.approx([11 / 2 / 6, 11 / 2 / 5])


def test_scores_and_items_are_written_side_by_side(items, tokenizer, tmp_path):
    run = dict.fromkeys([*schema.RUN, *schema.COST], 0)
    scored = run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
    (scored.of(run | {"seed": 1}) + scored.of(run | {"seed": 2})).write(tmp_path)
    assert len(schema.read(tmp_path / "scores.csv", schema.SCORES)) == 2 * len(benchmarks.BENCHMARKS)
    assert list(schema.read(tmp_path / "items.csv", schema.ITEMS).seed.unique()) == [1, 2]


def test_a_replica_does_not_inherit_the_victims_answers(items, tokenizer, monkeypatch):
    for greedy in (True, False):
        monkeypatch.setattr(
            LeanLM, "_loglikelihood_tokens", lambda _, asked, g=greedy, **kwargs: [(0.0, g)] * len(asked)
        )
        rows = {row["benchmark"]: row["value"] for row in run_benchmarks(byte_llama(0), tokenizer, items).rows}
        assert rows["capitals"] == rows["sums_1digit"] == float(greedy)


def test_requests_are_built_once_and_again_for_new_items(items, tokenizer, monkeypatch):
    built = []
    context = evaluation.ConfigurableTask.fewshot_context
    monkeypatch.setattr(
        evaluation.ConfigurableTask,
        "fewshot_context",
        lambda *args, **kwargs: built.append(1) or context(*args, **kwargs),
    )
    for _ in range(2):
        run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
        assert len(built) == len(benchmarks.BENCHMARKS)
    benchmarks.write_items([{"country": "Atlantis", "capital": "Poseidonis"}], items / "capitals.jsonl")
    run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
    assert len(built) == 2 * len(benchmarks.BENCHMARKS)


def test_nothing_is_looked_up(items, tokenizer, monkeypatch):
    attempts = []

    def refuse(*address, **kwargs):
        attempts.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
    assert not attempts


def test_missing_items_get_one_line(tmp_path, tokenizer):
    with pytest.raises(StudyError, match=r"hellaswag.jsonl: missing; run `dvc repro sets`"):
        run_benchmarks(byte_llama(0), tokenizer, tmp_path)


def test_worked_examples_are_plain_yaml():
    """The data stage reads them without loading lm-eval."""
    for name in ("capitals", "elements", "sums_1digit", "sums_2digit"):
        config = yaml.safe_load((benchmarks.TASKS / f"{name}.yaml").read_text())
        assert config["num_fewshot"] == len(config["fewshot_config"]["samples"])
