"""A victim off the grid of its quantisation: by how much it is moved, where, and that both victims are robbed alike."""

import sys

import pytest
import torch

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.grid import off_grid, snapping
from tests.difficulty.conftest import texts
from tests.grid.test_snapping import model


def test_every_matrix_of_the_layers_is_moved_by_up_to_half_a_step_and_nothing_else():
    victim = model()
    before = {name: tensor.clone() for name, tensor in victim.state_dict().items()}
    made = off_grid.moved(victim, 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in victim.state_dict().items())
    for name, tensor in made.state_dict().items():
        apart = (tensor - before[name]).reshape(-1, snapping.BLOCK) if tensor.ndim > 1 else tensor - before[name]
        if ".layers." not in name or tensor.ndim < 2:
            assert not apart.any(), name
            continue
        _, step, _ = snapping.grid(before[name])
        share = apart / step
        assert share.abs().max() < 0.51, name
        assert share.std() == pytest.approx(12**-0.5, rel=0.05) and abs(share.mean()) < 0.02  # uniform in (-1/2, 1/2)
    again, other = (off_grid.moved(victim, seed).model.layers[1].mlp.up_proj.weight for seed in (3, 4))
    own = made.model.layers[1].mlp.up_proj.weight
    assert torch.equal(again, own) and not torch.equal(other, own)


def test_a_victim_without_a_grid_is_one_line():
    with pytest.raises(StudyError, match=r"model.layers.0.*on no grid of Q4_1; name a model"):
        off_grid.moved(model(on_grid=False), 3)


def test_a_row_for_each_victim_set_and_number_of_texts(tokenizer, monkeypatch, tmp_path):
    monkeypatch.setattr(off_grid.models, "load_victim", lambda *_: (model(), tokenizer, "0123456789ab"))
    asked = texts(6)
    monkeypatch.setattr(off_grid.sampling, "texts", lambda *_: asked)
    held_out = [one | {"id": f"c4-{number}", "answer_start": 1} for number, one in enumerate(texts(4))]
    monkeypatch.setattr(off_grid.sampling, "apart", lambda *_: {"c4": held_out})
    monkeypatch.setattr(off_grid.shared.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(off_grid, "SETS", ("layers 0",))
    monkeypatch.setattr(off_grid, "QUERIES", (2, 6))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["off_grid", "smollm2-135m"])
    off_grid.main()
    (path,) = tmp_path.glob(f"*/scale/smollm2-135m/{paths.OFF_GRID_FILE}")
    table = schema.read(path, schema.OFF_GRID)
    assert table["victim"].tolist() == [off_grid.PACKAGED] * 2 + [off_grid.MOVED] * 2
    assert table["queries"].tolist() == [2, 6, 2, 6] and path.name in paths.NO_CELLS
    assert table["tokens"].tolist()[:2] == [sum(len(one["input_ids"]) for one in asked[:n]) for n in (2, 6)]
    packaged, moved = (mine for _, mine in table.groupby("victim", sort=False))
    assert (packaged["victim_agrees"] == 1).all() and (moved["victim_agrees"] < 1).all()
    assert packaged["kl"].to_numpy() == pytest.approx(moved["kl"].to_numpy(), rel=0.5)  # robbed alike
