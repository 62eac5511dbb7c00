"""Muon beside AdamW: the library's own two optimizers, as one that a Trainer and its checkpoints take."""

import pytest
import torch
from torch.optim import AdamW, Muon

from solid_utils.attacks import declared
from solid_utils.core.errors import StudyError
from solid_utils.settings import params, reading
from solid_utils.settings.recipe_text import recipe_text
from solid_utils.training import training
from solid_utils.training.muon import LIKE_ADAMW, MuonAdamW
from tests.conftest import build
from tests.settings.test_params import SHIPPED
from tests.training.test_training import RECIPE, train

MUON = RECIPE.model_copy(update={"optimizer": "muon"})


def layer():
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in [(6, 4), (6,), (4, 6), (4,)]]


def loss_of(parameters):
    first, middle, second, last = parameters
    x = torch.arange(12.0).view(3, 4) / 12
    return ((torch.tanh(x @ first.T + middle) @ second.T + last) - 1).square().sum()


def test_a_step_is_that_of_the_librarys_two_optimizers_under_one_schedule():
    mine, theirs = layer(), layer()
    one = MuonAdamW(mine, learning_rate=0.05, weight_decay=0.1)
    two = [Muon([theirs[0], theirs[2]], 0.05, 0.1, adjust_lr_fn=LIKE_ADAMW), AdamW([theirs[1], theirs[3]], 0.05)]
    two[1].param_groups[0]["weight_decay"] = 0.0
    schedules = [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 5) for optimizer in (one, *two)]
    for _ in range(5):
        for parameters, optimizers in ((mine, [one]), (theirs, two)):
            loss = loss_of(parameters)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
        for schedule in schedules:
            schedule.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert one.param_groups[0]["lr"] == two[0].param_groups[0]["lr"] != 0.05


def test_matrices_alone_and_vectors_alone():
    for parameters in ([layer()[0]], [layer()[1]]):
        optimizer = MuonAdamW(parameters, 0.1, 0.0)
        before = parameters[0].detach().clone()
        parameters[0].square().sum().backward()
        optimizer.step()
        assert len(optimizer.param_groups) == 1
        assert not torch.equal(before, parameters[0])
    with pytest.raises(ValueError, match="takes no closure"):
        optimizer.step(lambda: 0.0)
    with pytest.raises(ValueError):
        MuonAdamW([], 0.1, 0.0)


def test_a_resumed_run_by_muon_ends_at_the_same_bits(samples, tmp_path):
    whole, first, second, adamw = (build("llama") for _ in range(4))
    train(whole, samples, tmp_path / "whole", MUON)
    with pytest.raises(KeyboardInterrupt):
        train(first, samples, tmp_path / "cut", MUON, validated=3)
    train(second, samples, tmp_path / "cut", MUON)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in whole.state_dict().items())
    train(adamw, samples, tmp_path / "adamw")
    assert not torch.equal(adamw.lm_head.weight, whole.lm_head.weight)


def test_a_checkpoint_of_the_other_optimizer_is_no_state_of_this_training(samples, tmp_path):
    first, second = build("llama"), build("llama")
    with pytest.raises(KeyboardInterrupt):
        train(first, samples, tmp_path, validated=3)
    with pytest.raises(StudyError, match="whole.json: no state of this training"):
        train(second, samples, tmp_path, MUON)


def test_split_matrices_are_refused_in_one_line(llama, monkeypatch):
    monkeypatch.setattr(training.parallel, "sharded", lambda model: True)
    with pytest.raises(StudyError, match="optimizer: muon wants whole matrices"):
        training.optimizer_of(llama, MUON)
    assert training.optimizer_of(llama, RECIPE) is None


@pytest.mark.parametrize("shard", [False, True])
def test_a_sharded_attack_by_muon_is_refused_before_anything_is_loaded(shard):
    raw = reading.read(SHIPPED)
    raw["attacks"]["mine"] = {"secured": "layers 0", "attack": "sem", "recipe": {"small": {"optimizer": "muon"}}}
    raw["models"]["smollm2-135m"]["parallel"] = {"sem": {"processes": 2, "shard": shard}}
    study = params.Params.model_validate(raw)
    if not shard:
        assert declared.recipe(study, "smollm2-135m", "mine").optimizer == "muon"
        return
    with pytest.raises(StudyError, match="mine.recipe: optimizer: muon wants whole matrices, and models.smollm2-135m"):
        declared.recipe(study, "smollm2-135m", "mine")


def test_a_recipe_says_its_optimizer():
    assert recipe_text(MUON).startswith("muon 0.01, decay 0.1, cosine")
    assert recipe_text(RECIPE).startswith("adamw 0.01")
