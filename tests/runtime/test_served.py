"""Benchmarks through a defence: each defence is in place while its suite runs, and gone afterwards."""

import copy

import pytest
import torch
from transformers import LlamaForCausalLM

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import published_tasks
from solid_utils.runtime import served
from solid_utils.runtime.manifest import Boundary
from tests.conftest import byte_llama

IDS = torch.tensor([[1, 2, 3, 4]])


def test_a_row_a_defence_and_benchmark(tokenizer, tmp_path, monkeypatch):
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    plain = victim(IDS).logits
    moved = []

    def suite(model, *_):
        moved.append((model(IDS).logits - plain).abs().max().item())
        row = {"metric": "accuracy", "stderr": 0.1, "n": 9, "chance": 0.25, "shots": 0, "task_version": 1}
        rows = [row | {"benchmark": name, "value": 0.5, "domain": "x"} for name in ("one", "two")]
        return published_tasks.Scored(rows)

    monkeypatch.setattr(published_tasks, "run_suite", suite)
    defences = [Boundary(), Boundary(rounding="int8"), Boundary(noise=0.3)]
    rows = served.measured(victim, secured, tokenizer, None, None, defences)
    assert moved[0] == 0 < moved[1] < moved[2]
    assert [(row["rounding"], row["noise"], row["benchmark"]) for row in rows[2:5]] == [
        ("int8", 0, "one"),
        ("int8", 0, "two"),
        ("none", 0.3, "one"),
    ]
    torch.testing.assert_close(victim(IDS).logits, plain)
    own = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32"} | facts(secured)
    schema.write([own | row for row in rows], schema.SERVED, tmp_path / "served.csv")


@pytest.mark.parametrize("declaration", ["embeddings", "fully_secured", "none", "layers 1 + embeddings"])
def test_without_one_boundary_there_is_nothing_to_defend(declaration, tokenizer):
    victim = byte_llama(5)
    with pytest.raises(StudyError, match=r"defences: '.*' has no one boundary behind a layer"):
        served.measured(victim, secured_set(victim, declaration), tokenizer, None, None)


def test_of_two_pieces_neither_boundary_is_the_one(tokenizer):
    shape = copy.deepcopy(byte_llama(5).config)
    shape.num_hidden_layers = 3
    victim = LlamaForCausalLM(shape).eval()
    with pytest.raises(StudyError, match="'layers 0,2' has no one boundary"):
        served.measured(victim, secured_set(victim, "layers 0,2"), tokenizer, None, None)
