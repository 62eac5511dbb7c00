"""Defences at the boundary are measured as a door shows them; asking almost the same averages noise away."""

import pytest
import torch

from solid_utils.deployment.secured import secured_set
from solid_utils.runtime import defences, manifest
from solid_utils.runtime.door_oracle import DoorOracle
from solid_utils.runtime.manifest import Boundary, Policy
from tests.conftest import build, byte_llama
from tests.runtime.split_model import KEY, divided
from tests.runtime.test_attacks import texts
from tests.runtime.worlds import client

IDS = torch.tensor([text["input_ids"][:6] for text in texts(8)])


@pytest.mark.parametrize("boundary", [Boundary(rounding="int8"), Boundary(noise=0.1, rounding="bfloat16", seed=3)])
def test_the_oracle_in_one_process_shows_what_the_door_shows(tmp_path, monkeypatch, boundary):
    divided(tmp_path, "llama", "bottom 2", Policy(boundary=boundary))
    monkeypatch.setattr(defences, "KEY", KEY)
    monkeypatch.setattr(defences, "BINDING", manifest.sha256(tmp_path / "halves/open"))
    victim = build("llama")
    oracle = defences.Guarded(victim, secured_set(victim, "bottom 2"), 0, boundary)
    mask = torch.ones_like(IDS)
    mask[2:, 4:] = 0
    with client(tmp_path / "halves") as model:
        shown = DoorOracle(model, tmp_path / "halves/open", 0).boundary(IDS, mask)
        assert torch.equal(oracle.boundary(IDS, mask), shown)
        with defences.defended(victim, 1, boundary) as customers, torch.no_grad():
            assert torch.equal(customers(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_asking_almost_the_same_sixteen_times_leaves_a_quarter_of_the_noise(tmp_path):
    """The noise hangs on the state: asking again teaches nothing, a change that nobody sees draws it anew."""
    divided(tmp_path, "llama", "bottom 2", Policy(boundary=Boundary(noise=0.1)))
    with client(tmp_path / "halves") as model, torch.no_grad():
        oracle, embedded = DoorOracle(model, tmp_path / "halves/open", 0), model.get_input_embeddings().weight
        began, told = embedded.clone(), []
        for asking in range(16):
            embedded.copy_(began * (1 + 1e-6 * asking))
            told.append(oracle.boundary(IDS, torch.ones_like(IDS)))
        assert oracle.asked()["sequences"] == 16 * len(IDS)
    victim = build("llama")
    true = defences.Guarded(victim, secured_set(victim, "bottom 2"), 0, Boundary()).boundary(IDS, torch.ones_like(IDS))
    once, often = ((one - true).norm() / true.norm() for one in (told[0], sum(told) / 16))
    assert 0.08 < once < 0.12 and 3.3 < once / often < 4.7


def test_what_a_defence_costs_and_takes(tokenizer):
    victim = byte_llama(5)
    samples = [
        {"id": str(number), "input_ids": [1 + (7 * number + 3 * place) % 200 for place in range(20)], "answer_start": 5}
        for number in range(30)
    ]
    shown = [Boundary(), Boundary(noise=0.1), Boundary(noise=1.0)]
    asked = {(12, 1): samples, (12, 4): samples}
    secured = secured_set(victim, "layers 0")
    rows = defences.measured(victim, secured, tokenizer, asked, samples[12:], shown)
    assert [(row["noise"], row["askings"]) for row in rows] == [(0, 1), (0.1, 1), (0.1, 4), (1, 1), (1, 4)]
    assert (rows[0]["deployment_agreement"], rows[0]["queries"], rows[0]["tokens"]) == (1, 12, 240)
    assert rows[0]["deployment_kl"] < 1e-6 < rows[1]["deployment_kl"] < rows[3]["deployment_kl"]
    assert rows[4]["queries"] == 48 and rows[4]["replica_kl"] < rows[3]["replica_kl"]
    assert rows[0]["replica_kl"] < rows[3]["replica_kl"]
