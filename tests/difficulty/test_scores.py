"""All scores of several sets at once are those of each set by itself; what has no score is one line."""

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.difficulty import effective_rank, lookup, residual, scores
from solid_utils.difficulty.both_sides import BothSides, record
from solid_utils.difficulty.map_kl import map_kl
from solid_utils.difficulty.score_cost import Shapes, flops
from solid_utils.difficulty.scores import NAMES, Scores
from solid_utils.model.forward import pad
from tests.conftest import build
from tests.difficulty.conftest import texts

SETS = ("layers 0", "layers 1-2", "layers 3")


def made(model, sets=SETS) -> Scores:
    return Scores(model, texts(20), 0, [secured_set(model, one) for one in sets])


def test_sets_that_share_their_states_have_the_scores_of_each_alone(llama):
    together = made(llama)
    ids, mask = pad([text["input_ids"] for text in texts(20)], 0)
    for declaration, (first, last) in zip(SETS, ((0, 0), (1, 2), (3, 3)), strict=True):
        found = together.of(declaration)
        states = record(together.layers, ids, mask, (first - 1, last, 3))
        seen = BothSides(ids, mask, states[first - 1], states[last], torch.arange(20) % scores.EVERY == 0)
        guess = residual.guessed(seen, residual.fit(seen, scores.PREVIOUS))
        assert found.values["residual"] == pytest.approx(residual.residual(seen, guess), rel=1e-4)
        kl = map_kl(together.layers, seen, guess, last, states[3])
        assert found.values["map_kl"] == pytest.approx(kl, rel=1e-4)
        assert found.values["effective_rank"] == pytest.approx(effective_rank.effective_rank(seen), rel=1e-4)
        assert found.values["lookup"] == pytest.approx(lookup.lookup(seen), rel=1e-4)
        assert set(found.flops) == set(found.seconds) == set(NAMES) >= set(found.values)
        assert found.way == "jvp"
    assert together.of("layers 3").values == together.of("layers 3").values


def test_what_is_kept_has_a_row_a_score(llama):
    one = made(llama, ["layers 0"])
    found = one.of("layers 0")
    rows = scores.rows(found, 20, one.tokens)
    assert {row["score"]: row["value"] for row in rows} == found.values
    ways = {row["score"]: row["way"] for row in rows}
    assert ways.pop("curvature") == "jvp" and set(ways.values()) == {"none"}
    assert {(row["texts"], row["tokens"]) for row in rows} == {(20, sum(len(text["input_ids"]) for text in texts(20)))}


@pytest.mark.parametrize("declaration", ["layers 0,2", "bottom 1 + embeddings", "all", "top 1 + head"])
def test_a_set_without_a_state_on_both_sides_is_one_line(llama, declaration):
    with pytest.raises(StudyError, match="is not one row of decoder layers"):
        made(llama, [declaration])


def test_layers_that_hand_on_more_than_their_state_are_one_line(monkeypatch):
    monkeypatch.setattr(scores.DecoderLayers, "hands_on", lambda _: True)
    with pytest.raises(StudyError, match="hand on more than their state"):
        made(build("llama"))


def test_a_score_that_reads_the_bottom_costs_less_than_one_that_runs_the_rest():
    counted = flops(Shapes(8000, 2000, 16, below=10**6, above=10**8, previous=2), products=2)
    assert counted["lookup"] < counted["residual"] < counted["map_kl"] <= counted["curvature"]
    assert counted["curvature"] - counted["residual"] == 2 * 2 * 2000 * 10**8
    assert counted["map_kl"] == counted["curvature"], "the victim's own way to its logits, and the map's"
    deeper = flops(Shapes(8000, 2000, 16, below=2 * 10**6, above=10**8, previous=2), products=2)
    assert {deeper[name] - counted[name] for name in NAMES} == {2 * 10_000 * 10**6}, "all read what leaves the set"
