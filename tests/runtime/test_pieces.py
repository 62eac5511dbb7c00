"""Separated pieces fall one by one: each map is that of its piece alone, and one asking shows them all."""

import copy

import pytest
import torch
from transformers import LlamaForCausalLM

from solid_utils.attacks import linear_map
from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.deployment.described import facts
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.evaluation import fidelity
from solid_utils.model import models
from solid_utils.model.layers import DecoderLayers
from solid_utils.runtime import pieces
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, SAMPLES

IDS = torch.tensor([[1, 2, 3, 4, 5]])


@pytest.fixture(scope="module")
def victim():
    shape = copy.deepcopy(byte_llama(5).config)
    shape.num_hidden_layers = 5
    torch.manual_seed(5)
    return LlamaForCausalLM(shape).eval()


def test_rows_of_layers_are_the_pieces(victim):
    found = pieces.pieces(victim, secured_set(victim, "layers 0,2-3"))
    assert [part.layers for part in found] == [(0,), (2, 3)]
    with pytest.raises(StudyError, match="pieces: 'layer 0 q' secures more or less than layers"):
        pieces.pieces(victim, secured_set(victim, "layer 0 q"))


def test_a_map_fitted_on_real_states_is_that_of_the_piece_alone(victim):
    """What the thief of two pieces fits for the upper one is what a thief of that one alone fits."""
    both, upper = secured_set(victim, "layers 0,3"), secured_set(victim, "layers 3")
    parts = pieces.pieces(victim, both)
    replica = pieces.stolen(victim, both, parts, SAMPLES[:24], 0, pieces.APART)
    alone = linear_map.fit(models.open_part(victim, upper.names), Oracle(victim, upper, 0), SAMPLES[:24], 2)
    stitch = DecoderLayers(replica).layers[3]
    torch.testing.assert_close(stitch.linear.weight, alone.T)


def test_a_map_stands_in_place_of_each_piece(victim):
    both = secured_set(victim, "layers 0,3")
    replica = pieces.stolen(victim, both, pieces.pieces(victim, both), SAMPLES[:24], 0, pieces.IN_ORDER)
    layers = DecoderLayers(replica).layers
    assert [type(layers[index]).__name__ for index in (0, 3)] == ["Stitch", "Stitch"]
    assert replica(IDS, use_cache=False).logits.isfinite().all()


def test_in_order_a_map_is_fitted_on_what_the_replica_hands_on(victim):
    both, upper = secured_set(victim, "layers 0,3"), secured_set(victim, "layers 3")
    layers = DecoderLayers(
        pieces.stolen(victim, both, pieces.pieces(victim, both), SAMPLES[:24], 0, pieces.IN_ORDER)
    ).layers
    below = models.open_part(victim, both.names)
    linear_map.install(below, view(victim, secured_set(victim, "layers 0")), layers[0].linear.weight.T)
    again = linear_map.fit(below, Oracle(victim, upper, 0), SAMPLES[:24], 2)
    torch.testing.assert_close(layers[3].linear.weight, again.T)


def test_every_set_and_way_has_its_row(victim, tokenizer, tmp_path):
    sets = [secured_set(victim, text) for text in ("layers 0", "layers 0,3")]
    plain = fidelity.Remembered(lambda: victim)
    found = [pieces.measured(victim, secured, tokenizer, SAMPLES[:24], HELD_OUT, plain) for secured in sets]
    rows = [row for mine in found for row in mine]
    assert [(row["pieces"], row["adapts"], row["queries"]) for row in rows] == [
        (1, "no", 24),
        (2, "no", 24),
        (2, "in order", 24),
    ]
    assert len({row["kl"] for row in rows}) == 3, "a way of fitting is a replica of its own"
    own = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32"}
    named = [own | facts(secured) | row for secured, mine in zip(sets, found, strict=True) for row in mine]
    schema.write(named, schema.PIECES, tmp_path / "pieces.csv")
