"""GSM8K's problems stand in the domain's own form, and are scored as the domain's are."""

import json

import pytest

from solid_utils.core import files, paths
from solid_utils.customization import gsm8k, likelihood
from solid_utils.model import models, sampling
from tests.conftest import byte_llama
from tests.customization.runs import ADAPTERS, method, run

ROWS = [{"question": f"Ann has {n} pens. How many?", "answer": f"She has {n}.\n#### 1,{n:03d}"} for n in range(5)]
OWN = "Say it.\n\n### Instruction:\nState 1 + 1 =\n\n### Response:\n"


@pytest.fixture
def customer(tokenizer, tmp_path, monkeypatch):
    made = run(tmp_path, byte_llama(3), tokenizer, "bottom 1", method("lora", **ADAPTERS))
    made.budget = made.budget.model_copy(update={"length": 400})
    made.items_in = tmp_path
    files.write_lines([{"id": "a", "prompt": OWN, "answer": "2", "source": "x"}], tmp_path / "math_test.jsonl")
    monkeypatch.setattr(paths, "BENCHMARK_ITEMS", tmp_path)
    (tmp_path / gsm8k.FILE).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    models.save_delta(byte_llama(4), made.victim, made.state.folder / "customized.safetensors")
    return made


def test_a_problem_is_asked_for_its_number_in_the_domains_form(customer):
    found = gsm8k.problems(customer)
    assert [item["answer"] for item in found] == ["1000", "1001", "1002", "1003", "1004"]
    assert found[3]["prompt"] == (
        "Say it.\n\n### Instruction:\nAnn has 3 pens. How many? Give the result as your final answer. Do not include "
        "units.\n\n### Response:\n"
    )


def test_rows_are_the_domains_own_scores_before_and_after(customer):
    before, after = gsm8k.shown(customer)
    samples = sampling.encode(gsm8k.problems(customer), customer.tokenizer, 400)
    for row, model in ((before, customer.victim), (after, customer.customized())):
        wanted = likelihood.answers(model, samples, 0)
        assert row["nats"] == pytest.approx(wanted.nats.mean(), rel=1e-5) and row["problems"] == 5
        assert row["right"] == wanted.exact.mean() and row["stderr"] == pytest.approx(wanted.nats.std(ddof=1) / 5**0.5)
    assert before["nats"] != after["nats"]


def test_where_no_problem_fits_there_is_nothing(customer):
    customer.budget = customer.budget.model_copy(update={"length": 20})
    assert gsm8k.shown(customer) == []


def test_of_worked_solutions_from_the_hub_there_is_nothing(customer):
    sets = customer.study.data.customization.model_copy(update={"hub": ["math"]})
    data = customer.study.data.model_copy(update={"customization": sets})
    customer.study = customer.study.model_copy(update={"data": data})
    assert gsm8k.shown(customer) == []


def test_of_another_domain_there_is_nothing(customer):
    customer.customization = customer.customization.model_copy(update={"domain": "law"})
    assert gsm8k.shown(customer) == []
