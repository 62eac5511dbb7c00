"""SEM from the closed-form map: it begins where the map ends, trains beside it, and its file holds both."""

import pytest
import safetensors.torch
import torch

from solid_utils.attacks import declared, linear_map
from solid_utils.attacks.beside_map import MAP, hands_on
from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts, view
from solid_utils.deployment.secured import secured_set
from solid_utils.model import models
from solid_utils.settings.attack_params import AttackSection
from tests.attacks.test_run import SEED, attack, place  # noqa: F401 (fixtures)
from tests.conftest import build


def agreement(run) -> dict[tuple, float]:
    return {(row["benchmark"], row["metric"]): row["value"] for row in run.end_scores(SEED).rows}


def test_with_no_steps_it_agrees_as_the_map_does(attack):  # noqa: F811
    nothing, fitted = attack("linear-untrained"), attack("stitch")
    history = nothing.train(SEED)
    fitted.train(SEED)
    assert agreement(nothing) == agreement(fitted)
    assert [row["step"] for row in history] == [0, nothing.account.steps] == [0, 2]  # 32 texts, 16 at a time
    assert history[1]["validation_agreement"] > history[0]["validation_agreement"]


def test_it_goes_on_from_the_map_and_keeps_it(attack):  # noqa: F811
    run = attack("linear")
    history = run.train(SEED)
    assert [row["step"] for row in history] == [0, 2, 6, 10]  # the map's batches, then 8 steps of SEM
    assert (
        history[-1]["loss"] < history[1].get("loss", 1.0) or history[-1]["validation_kl"] < history[0]["validation_kl"]
    )
    tensors = safetensors.torch.load_file(run.kept(SEED))
    assert set(tensors) == {MAP, *run.secured.names}
    assert torch.equal(tensors[MAP].float(), linear_map.load(run.state.folder / "map.safetensors"))
    begun = dict(run.start(SEED).named_parameters())
    changed = {name for name, tensor in run.replica(SEED).named_parameters() if not torch.equal(tensor, begun[name])}
    matrices = {name for name in run.secured.names if "norm" not in name}
    assert matrices <= changed <= set(run.secured.names)


def test_what_it_asks_and_costs(attack):  # noqa: F811
    run, alone, sem = attack("linear"), attack("stitch"), attack("sem")
    before, after = run.row(SEED, 0), run.row(SEED, run.account.steps)
    assert (before["queries"], before["flops"], before["samples"], before["start"]) == (0, 0, 0, "skip")
    assert after["queries"] == len(run.samples) + len(run.validation)
    assert after["samples"] == 32 + 8 * 8
    assert after["flops"] == alone.row(SEED, 2)["flops"] + sem.row(SEED, 8)["flops"]
    assert after["recipe"].endswith("relative_mse, beside a ridge map of 1 previous tokens")
    assert (after["numbers"], after["batch"]) == (32, 8)


@pytest.mark.parametrize("declaration", ["layers 0-1", "layers 1"])
def test_fresh_layers_that_change_what_enters_are_known(declaration):
    opt, llama = build("opt"), build("llama")  # that OPT normalises what leaves a layer
    for model in (opt, llama):
        secured = secured_set(model, declaration)
        attacker = models.open_part(model, secured.names)
        starts.apply(attacker, starts.draw(attacker, secured.names, "skip", SEED))
        assert hands_on(attacker, view.view(model, secured), [1, 2, 3]) == (model is llama)


@pytest.mark.parametrize("option", [{"start": "xavier"}, {"replacement": 1}, {"after": "sem"}])
def test_what_would_make_it_another_attack_is_refused(option):
    section = AttackSection(attack="sem_linear", secured="layers 0", **option)
    with pytest.raises(StudyError, match=r"^attacks\.x: (start|replacement): "):
        declared.declared(section, "attacks.x")
