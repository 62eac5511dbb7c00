"""Noise on the first layer: on its matrices alone, of the size that is said, and what it leaves of the answers."""

import sys

import pytest
import torch

from solid_utils.core import paths, schema
from solid_utils.deployment.secured import secured_set
from solid_utils.grid import exactness
from solid_utils.settings import params
from tests.conftest import byte_llama
from tests.difficulty.conftest import texts

MODEL = "smollm2-135m"


@pytest.fixture
def victim(tokenizer, monkeypatch, tmp_path):
    """A tiny model in the place of the study's, and few texts."""
    monkeypatch.setattr(exactness.models, "load_victim", lambda *_: (byte_llama(0), tokenizer, "0123456789ab"))
    few = [one | {"id": str(number), "answer_start": 4} for number, one in enumerate(texts(6))]
    monkeypatch.setattr(exactness.sampling, "held_out", lambda *_: {"evaluation": few, "evaluation_c4": few[:2]})
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(exactness.shared.torch, "set_num_threads", lambda _: None)  # other tests keep theirs
    return tmp_path


def test_noise_is_on_secret_matrices_alone_and_of_its_size():
    model = byte_llama(0)
    with torch.no_grad():  # norms that are all one have no spread, and no noise would show on them
        model.model.layers[0].input_layernorm.weight.copy_(torch.linspace(0.5, 2, 16))
    secured = secured_set(model, "layers 0")
    made = exactness.noisy(model, secured, 0.1, 20)
    for (name, own), other in zip(model.named_parameters(), made.parameters(), strict=True):
        apart = (other - own).detach()
        if name in secured.names and own.ndim > 1:
            assert abs((apart.std() / own.std()).item() / 0.1 - 1) < 0.2
        else:
            assert not apart.any()
    assert torch.equal(exactness.noisy(model, secured, 0.1, 20).lm_head.weight, made.lm_head.weight)


def test_the_error_of_states_is_that_of_plain_transformers():
    model = byte_llama(0)
    made = exactness.noisy(model, secured_set(model, "layers 0"), 0.1, 20)
    samples = texts(3)
    off = []
    with torch.no_grad():
        for sample in samples:
            ids = torch.tensor([sample["input_ids"]])
            theirs = model(ids, output_hidden_states=True).hidden_states[1][0, 1:]
            own = made(ids, output_hidden_states=True).hidden_states[1][0, 1:]
            off += ((own - theirs).norm(dim=1) / theirs.norm(dim=1)).tolist()
    expected = torch.tensor(off).square().mean().sqrt().item()
    assert exactness.state_error(made, model, 0, samples, 0) == pytest.approx(expected, rel=1e-4)
    assert exactness.state_error(model, model, 0, samples, 0) == 0


def test_less_noise_leaves_more_and_the_file_is_written_once(victim, monkeypatch, capsys):
    monkeypatch.setattr(exactness, "SIZES", (1.0, 1e-6))
    monkeypatch.setattr(sys, "argv", ["exactness", MODEL])
    exactness.main()
    (path,) = victim.glob(f"reference/*/scale/{MODEL}/{paths.EXACTNESS_FILE}")
    table = schema.read(path, schema.EXACTNESS)
    assert table["benchmark"].tolist() == ["evaluation", "evaluation_c4"] * 2
    loud, quiet = table[table["noise"] == 1], table[table["noise"] == 1e-6]
    assert (loud["kl"].to_numpy() > quiet["kl"].to_numpy()).all() and (quiet["agreement"] == 1).all()
    assert (quiet["greedy_match"] == 1).all() and (quiet["state_error"] < 1e-5).all()
    assert (table["dtype"] == "float32").all(), "no products in bfloat16, which would drown the noise"
    written = path.read_bytes()
    exactness.main()
    assert path.read_bytes() == written and "delete it to compute it again" in capsys.readouterr().out
    path.unlink()
    exactness.main()
    assert path.read_bytes() == written, "the same bytes each time"


def test_the_files_name_is_no_cell():
    assert paths.EXACTNESS_FILE in paths.NO_CELLS
    assert exactness.GRID in params.GRIDS
