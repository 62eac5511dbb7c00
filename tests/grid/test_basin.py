"""Training from beside the victim's own layer: what it leaves of the noise, on its own texts and on others."""

import sys

import pytest
import torch

from solid_utils.core import paths, schema
from solid_utils.deployment import view
from solid_utils.deployment.secured import secured_set
from solid_utils.grid import basin, exactness
from solid_utils.settings import params
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import SAMPLES


def test_training_takes_noise_away_and_touches_nothing_open(monkeypatch):
    monkeypatch.setattr(basin, "RECIPE", basin.RECIPE.model_copy(update={"learning_rate": 3e-3}))  # of so small a model
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    last = view.view(victim, secured).last
    before = {name: parameter.clone() for name, parameter in victim.named_parameters()}
    replica = exactness.noisy(victim, secured, 0.3, 20)
    begun = exactness.state_error(replica, victim, last, SAMPLES, 0)
    basin.trained(replica, victim, secured, last, SAMPLES * 20, 0)
    assert exactness.state_error(replica, victim, last, SAMPLES, 0) < 0.7 * begun
    assert all(torch.equal(parameter, before[name]) for name, parameter in victim.named_parameters())
    opened = [name for name in before if name not in secured.names]
    theirs = dict(replica.named_parameters())
    assert all(torch.equal(theirs[name], before[name]) for name in opened)


def test_the_file_has_a_row_a_start_and_is_written_once(tokenizer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(basin.models, "load_victim", lambda *_: (byte_llama(5), tokenizer, "0123456789ab"))
    monkeypatch.setattr(basin.sampling, "texts", lambda *_: SAMPLES[:24])
    monkeypatch.setattr(basin.sampling, "samples", lambda *_: SAMPLES[24:])
    monkeypatch.setattr(basin.shared.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(basin, "SIZES", (0.1, 1.0))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["basin", "smollm2-135m"])
    basin.main()
    (path,) = tmp_path.glob(f"*/scale/smollm2-135m/{paths.BASIN_FILE}")
    table = schema.read(path, schema.BASIN).set_index("noise")
    assert table["own_start"][0.1] < table["own_start"][1.0] and (table["steps"] == 3).all()
    assert table["held_out_end"].to_dict() != table["held_out_start"].to_dict()
    assert path.name in paths.NO_CELLS and (table["dtype"] == "float32").all()
    written = path.read_bytes()
    basin.main()
    assert path.read_bytes() == written and "delete it to compute it again" in capsys.readouterr().out


def test_it_trains_as_the_strongest_sem_does_at_a_tenth_of_its_rate():
    muon = params.load().scale.recipes["muon"]
    assert basin.RECIPE.learning_rate == pytest.approx(muon["learning_rate"] / 10)
    assert (basin.RECIPE.optimizer, basin.RECIPE.weight_decay) == (muon["optimizer"], muon["weight_decay"])
