"""The theorem's quantities on tiny decoders, against arithmetic by hand and the plain forward."""

from pathlib import Path

import numpy as np
import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.theory import real
from tests.conftest import VOCABULARY

IDS = [[3, 5, 8, 13, 21, 34], [2, 7, 1, 8, 28, 18]]


def test_quantities_by_hand():
    alike, apart = torch.ones(4, 3), torch.eye(3)
    assert real.centred_share(alike) == 0 and real.centred_share(apart) == pytest.approx((2 / 3) ** 0.5)
    assert real.effective_rank(alike) == pytest.approx(1, abs=1e-3)
    assert real.effective_rank(apart) == pytest.approx(3)
    assert real.mean_cosine(alike) == pytest.approx(1) and real.mean_cosine(apart) == pytest.approx(0)
    weights = torch.tensor([[[1.0, 0.0], [0.25, 0.75]], [[1.0, 0.0], [0.75, 0.25]]])
    wanted = {"columns_off": 1, "column_first": 1.5, "tau_mean": 0.5, "tau_smallest": 0.25, "tau_largest": 0.75}
    assert real.of_attention(weights) == pytest.approx(wanted)
    assert real.of_attention(weights, by_head=True) == pytest.approx(wanted | {"tau_head_0": 0.75, "tau_head_1": 0.25})


def test_states_are_those_of_the_plain_forward_on_every_architecture(model):
    ids = torch.tensor(IDS[:1])
    with torch.no_grad(), real.seen_states(model) as states:
        hidden = model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
    assert len(states) == len(hidden)
    for ours, theirs in zip(states[:-1], hidden[:-1], strict=True):  # the last of theirs has passed the final norm
        assert torch.equal(ours, theirs)


def test_rows_and_a_random_layer_that_leaves_no_trace(llama):
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    rows = real.measure(llama, IDS, [0, 3], seed=1)
    assert all(torch.equal(before[name], value) for name, value in llama.state_dict().items())
    harms = {row["place"]: row["value"] for row in rows if row["quantity"] == "kl"}
    assert set(harms) == {0, 3} and all(value > 0 for value in harms.values())
    clean = [row for row in rows if row["variant"] == "victim" and row["depth"] == 0]
    lowest = [row for row in rows if row["place"] == 3 and row["depth"] == 0]
    assert [row["value"] for row in clean] == [row["value"] for row in lowest], "below the layer nothing changes"
    assert {row["n"] for row in rows} == {2} and max(IDS[0]) < VOCABULARY


def test_every_head_of_the_victim_has_its_tau(llama):
    rows = real.measure(llama, IDS, [0], seed=1)
    heads = [row for row in rows if row["quantity"].startswith(real.HEAD.format(""))]
    assert {row["variant"] for row in heads} == {"victim"}
    assert len(heads) == llama.config.num_attention_heads * llama.config.num_hidden_layers
    for depth in range(1, 1 + llama.config.num_hidden_layers):
        mean = next(row["value"] for row in rows if row["quantity"] == "tau_mean" and row["depth"] == depth)
        assert mean == pytest.approx(np.mean([row["value"] for row in heads if row["depth"] == depth]))


def test_the_notebook_follows_forty_texts_whatever_attacks_are_scored_on():
    text = (Path(__file__).parents[2] / "notebooks" / "00_theory.ipynb").read_text()
    assert real.TEXTS == 40 and text.count("real.TEXTS") == 1 and "apart.texts" not in text


def test_a_place_that_is_none(llama):
    with pytest.raises(StudyError, match="no layer 9 in a model of 4"):
        real.measure(llama, IDS, [9], seed=1)
