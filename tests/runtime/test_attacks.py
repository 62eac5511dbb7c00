"""Attacks through the door learn what they learn from the oracle in one process, and are counted the same."""

import pytest
import torch

from solid_utils.attacks import beside_map, linear_map, recorded, stitch
from solid_utils.attacks import run as attack_run
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model.models import open_part
from solid_utils.runtime import split
from solid_utils.runtime.door_oracle import DoorOracle
from solid_utils.runtime.manifest import Boundary, Policy
from tests.attacks.test_run import SEED, attack, place  # noqa: F401 (fixtures)
from tests.conftest import VOCABULARY, build
from tests.runtime.split_model import KEY, divided
from tests.runtime.worlds import client


def texts(count=24):
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(6, 16, (count,), generator=generator).tolist()
    rows = [torch.randint(1, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return [{"id": str(number), "input_ids": row, "answer_start": len(row) // 2} for number, row in enumerate(rows)]


def in_process(declaration):
    """The victim's oracle, and the attacker's own model."""
    victim = build("llama")
    secured = secured_set(victim, declaration)
    return Oracle(victim, secured, 0), open_part(victim, secured.names)


@pytest.mark.parametrize("declaration", ["bottom 2", "layers 1-2"])
def test_the_linear_map_is_the_same(tmp_path, declaration):
    divided(tmp_path, "llama", declaration)
    oracle, attacker = in_process(declaration)
    with client(tmp_path / "halves") as model:
        door = DoorOracle(model, tmp_path / "halves/open", 0)
        assert door.view == oracle.view
        mine, theirs = (linear_map.fit(attacker, one, texts(), previous=2) for one in (door, oracle))
        assert torch.equal(mine, theirs)
        counts = {"tokens": oracle.tokens, "sequences": oracle.sequences, "gradients": 0}
        assert door.asked() == counts and oracle.tokens == sum(len(text["input_ids"]) for text in texts())
        assert (door.tokens, door.sequences) == (oracle.tokens, oracle.sequences)


@pytest.mark.parametrize("declaration", ["bottom 2", "layers 2-3 + rest after layers"])
def test_what_sem_trains_on_is_the_same(tmp_path, declaration):
    """SEM sees nothing of the victim but these recordings, so its replica is the same too."""
    divided(tmp_path, "llama", declaration)
    oracle, _ = in_process(declaration)
    samples = dict(enumerate(texts(10)))
    with client(tmp_path / "halves") as model:
        door = DoorOracle(model, tmp_path / "halves/open", 0)
        mine = recorded.answered(door, samples, tmp_path / "mine")
        theirs = recorded.answered(oracle, samples, tmp_path / "theirs")
        for number in samples:
            assert torch.equal(mine.of(torch.tensor([number])), theirs.of(torch.tensor([number])))
        assert door.asked() == {"tokens": oracle.tokens, "sequences": oracle.sequences, "gradients": 0}


def trained(run, monkeypatch, oracle):
    """The bytes of one run's replica, its history, and what its oracle was asked; `oracle` stands for Oracle."""
    asked = []
    for module in (beside_map, stitch):
        monkeypatch.setattr(module, "Oracle", lambda *given: asked.append(oracle(*given)) or asked[-1])
    monkeypatch.setattr(attack_run.oracle, "Oracle", lambda *given: asked.append(oracle(*given)) or asked[-1])
    history = run.train(SEED)
    replica = run.kept(SEED).read_bytes()
    run.state.discard()
    return replica, history, [(one.tokens, one.sequences) for one in asked], asked


@pytest.mark.parametrize("name", ["sem", "linear"])
def test_a_whole_attack_through_the_socket_keeps_the_same_replica(name, attack, tmp_path, monkeypatch):  # noqa: F811
    """As notebook 03 runs them: SEM, and SEM beside the linear map, whose file holds both."""
    usual = attack(name)
    usual.victim.save_pretrained(tmp_path / "model")
    split.split(tmp_path / "model", usual.attack.secured, tmp_path / "halves", KEY)
    plain = trained(usual, monkeypatch, Oracle)
    with client(tmp_path / "halves") as model:
        through = trained(
            attack(name), monkeypatch, lambda _victim, _set, pad, *_: DoorOracle(model, tmp_path / "halves/open", pad)
        )
        counted = model.secure.counts()
    assert through[:3] == plain[:3]
    sums = [sum(column) for column in zip(*plain[2], strict=True)]
    assert [counted["tokens"], counted["sequences"], counted["gradients"]] == [*sums, 0]
    assert sums[1] >= 32 * len(plain[2])  # the secure world counted every text of every oracle


@pytest.mark.parametrize(
    ("boundary", "least", "most"),
    [
        (Boundary(rounding="bfloat16"), 1e-4, 4e-3),
        (Boundary(rounding="int8"), 1e-4, 2e-2),
        (Boundary(noise=0.1, seed=1), 0.08, 0.12),
    ],
)
def test_the_boundary_is_as_noisy_as_the_policy_says(tmp_path, boundary, least, most):
    divided(tmp_path, "llama", "bottom 2", Policy(boundary=boundary))
    oracle, _ = in_process("bottom 2")
    ids = torch.tensor([text["input_ids"][:6] for text in texts()])
    with client(tmp_path / "halves") as model:
        door = DoorOracle(model, tmp_path / "halves/open", 0)
        plain, asked, again = oracle.boundary(ids, ids), door.boundary(ids, ids), door.boundary(ids, ids)
    assert torch.equal(asked, again)  # asking again teaches nothing
    off = (asked - plain).norm() / plain.norm()
    assert least < off < most


def test_a_lone_matrix_behind_a_door_is_read_off_with_as_many_questions_as_it_has_inputs(tmp_path):
    """Why a single secured matrix is no deployment: its door answers x -> x W, and W follows from the unit vectors."""
    divided(tmp_path, "llama", "layer 1 q")
    with client(tmp_path / "halves") as model, torch.no_grad():
        stolen = model.model.layers[1].self_attn.q_proj(torch.eye(16)[None])[0].T
        assert torch.equal(stolen, build("llama").model.layers[1].self_attn.q_proj.weight)
        assert model.secure.counts()["tokens"] == 16
