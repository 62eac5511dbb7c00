"""The theorem's quantities on tiny decoders, against arithmetic by hand and the plain forward."""

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
    seen = real.of_attention(torch.tensor([[[1.0, 0.0], [0.25, 0.75]]]))
    assert seen == pytest.approx({"columns_off": 1, "column_first": 1.25, "tau_mean": 0.75, "tau_smallest": 0.75})


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


def test_a_place_that_is_none(llama):
    with pytest.raises(StudyError, match="no layer 9 in a model of 4"):
        real.measure(llama, IDS, [9], seed=1)
