"""The offline suite against lm-eval with its own HFLM."""

import math
import socket

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.data.items import read_lines, write_benchmarks, write_items
from solid_utils.evaluation import evaluation
from solid_utils.evaluation.evaluation import run_benchmarks
from solid_utils.evaluation.lean import LeanLM
from solid_utils.tasks import suites
from tests.conftest import byte_llama
from tests.packaged import C4, MMLU, MORE_MMLU, write_raw


@pytest.fixture
def items(tmp_path):
    """The suite's item files."""
    write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, MORE_MMLU, C4)
    return tmp_path / "items"


def test_rows(items, tokenizer):
    rows = {row["benchmark"]: row for row in run_benchmarks(byte_llama(0), tokenizer, items).rows}
    assert tuple(rows) == suites.BENCHMARKS
    assert all(list(row) == schema.OUTCOME for row in rows.values())
    assert rows["truthfulqa_mc1"]["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert rows["truthfulqa_mc1"]["task_version"] == "2.0"
    assert [rows[name]["chance"] for name in ("hellaswag", "mmlu_letter", "capitals")] == [0.25, 0.25, 0.0]
    assert [rows[name]["shots"] for name in ("hellaswag", "capitals", "sums_2digit")] == [0, 2, 2]
    assert [rows[name]["metric"] for name in ("hellaswag", "mmlu_letter")] == ["acc_norm", "acc"]
    assert rows["capitals"]["n"] == 244
    assert all(0 <= row["value"] <= 1 for row in rows.values())
    assert {row["n"] for row in run_benchmarks(byte_llama(0), tokenizer, items, limit=2).rows} == {2}


def test_the_floor_is_the_best_constant_answer(items, tokenizer, monkeypatch):
    """What a model scores that likes the choice at one place best, for the place that suits it."""
    constants = []
    for place in range(4):

        def asked_again(_, asked, place=place, **kwargs):
            """One for the choice at `place`, counted from the last change of context."""
            scores, before, at = [], None, -1
            for text in asked:
                at, before = (at + 1 if text[0][0] == before else 0), text[0][0]
                scores.append((float(at == place), False))
            return scores

        monkeypatch.setattr(LeanLM, "_loglikelihood_tokens", asked_again)
        rows = run_benchmarks(byte_llama(0), tokenizer, items).rows
        constants.append({row["benchmark"]: row["value"] for row in rows})
    # Of TruthfulQA not all items have a third choice.
    labels = [row["mc1_targets"]["labels"].index(1) for row in read_lines(items / "truthfulqa_mc1.jsonl")]
    for row in rows:
        if row["chance"]:
            best = max(values[row["benchmark"]] for values in constants)
            best = max(map(labels.count, labels)) / 6 if row["benchmark"] == "truthfulqa_mc1" else best
            assert row["floor"] == pytest.approx(best) and row["floor"] >= row["chance"], row["benchmark"]
        elif row["benchmark"] == "sums_1digit":
            sums = [item["first"] + item["second"] for item in read_lines(items / "sums_1digit.jsonl")]
            assert row["floor"] == pytest.approx(max(map(sums.count, sums)) / len(sums)) and 0 < row["floor"] < 0.2
        elif row["benchmark"] == "elements":
            assert math.isnan(row["floor"]), "no symbol is that of two elements"


def test_scores_equal_lm_evals_own(items, tokenizer, capsys):
    """The full suite, but what runs code: that is left out, and a line says so."""
    model, names = byte_llama(1, positions=4096), suites.SUITES["full"]
    rows = run_benchmarks(model, tokenizer, items, names, limit=5).rows
    assert capsys.readouterr().out.startswith("humaneval: left out, because generated code is run")
    tasks = {name: evaluation._task(name, items) for name in names if name != "humaneval"}
    theirs = lm_eval.evaluate(HFLM(pretrained=model, tokenizer=tokenizer, device="cpu"), {"tasks": tasks}, limit=5)
    assert [row["benchmark"] for row in rows] == list(tasks)
    for row in rows:
        found = "strict-match" if row["benchmark"] == "gsm8k_cot" else "none"
        result = theirs["results"][row["benchmark"]]
        assert row["value"] == result[f"{row['metric']},{found}"]
        assert row["stderr"] == result[f"{row['metric']}_stderr,{found}"]


def test_generated_code_is_run_in_the_sandbox(items, tokenizer, monkeypatch, allowed):
    """The three problems, one of them solved."""
    answers = ["    return a + b\n", "    return\n", "    return\n"]
    order = [problem["entry_point"] for problem in read_lines(items / "humaneval.jsonl")]
    texts = [answers[["total", "larger", "text"].index(name)] for name in order]
    monkeypatch.setattr(LeanLM, "generate_until", lambda *_, **__: texts)
    (row,) = run_benchmarks(byte_llama(0), tokenizer, items, ("humaneval",), allow_code=True).rows
    assert (row["metric"], row["value"], row["n"]) == ("pass@1", pytest.approx(1 / 3), 3)


def test_items_give_the_scores(items, tokenizer, monkeypatch):
    """Also where a benchmark has several tasks, weighed by size or not."""

    def guesses(_, asked, **kwargs):
        return [(float(-sum(text[2]) * number % 7), number % 3 == 0) for number, text in enumerate(asked)]

    monkeypatch.setattr(LeanLM, "_loglikelihood_tokens", guesses)  # a tiny random model is right nowhere
    tasks = {name: evaluation._task(name, items) for name in ("truthfulqa_mc1", "mmlu_letter")}
    suite = [
        *evaluation._suite(items, suites.BENCHMARKS, ()),
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
    run = dict.fromkeys([*schema.RUN, *schema.COST], 0) | {"only_layers": False, "attack": "none"}
    scored = run_benchmarks(byte_llama(0), tokenizer, items, limit=2)
    (scored.of(run | {"seed": 1}) + scored.of(run | {"seed": 2})).write(tmp_path)
    table = schema.read(tmp_path / "scores.csv", schema.SCORES)
    assert len(table) == 2 * len(suites.BENCHMARKS)
    assert table.drop(columns="floor").notna().all(axis=None)  # where answers are texts it is not known
    assert list(schema.read(tmp_path / "items.csv", schema.ITEMS).seed.unique()) == [1, 2]


def test_a_replica_does_not_inherit_the_victims_answers(items, tokenizer, monkeypatch):
    for greedy in (True, False):
        monkeypatch.setattr(
            LeanLM, "_loglikelihood_tokens", lambda _, asked, g=greedy, **kwargs: [(0.0, g)] * len(asked)
        )
        rows = {row["benchmark"]: row["value"] for row in run_benchmarks(byte_llama(0), tokenizer, items).rows}
        assert rows["capitals"] == rows["sums_1digit"] == float(greedy)


@pytest.mark.parametrize("same", [0.0, math.nan])
def test_a_model_that_likes_all_choices_alike_scores_what_the_first_choice_does(items, tokenizer, monkeypatch, same):
    monkeypatch.setattr(LeanLM, "_loglikelihood_tokens", lambda _, asked, **kwargs: [(same, False)] * len(asked))
    rows = {row["benchmark"]: row["value"] for row in run_benchmarks(byte_llama(0), tokenizer, items).rows}
    first = [row["mc1_targets"]["labels"][0] for row in read_lines(items / "truthfulqa_mc1.jsonl")]
    assert rows["truthfulqa_mc1"] == pytest.approx(sum(first) / len(first)) and 0 < sum(first) < len(first)
    first = [row["answer"] == 0 for row in read_lines(items / "humaneval_short.jsonl")]
    assert rows["humaneval_short"] == sum(first) / len(first)


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
        assert len(built) == len(suites.BENCHMARKS)
    write_items([{"country": "Atlantis", "capital": "Poseidonis"}], items / "capitals.jsonl")
    run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
    assert len(built) == 2 * len(suites.BENCHMARKS)


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
