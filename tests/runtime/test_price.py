"""Prices of defences: states told once are shown as the oracle shows them; no thief asks more than the most."""

import pytest
import torch

from solid_utils.core import schema
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.model.forward import pad
from solid_utils.runtime import price
from solid_utils.runtime.adaptive import BOTH, LINEAR, Attacker, Told
from solid_utils.runtime.boundary import rounded
from solid_utils.runtime.defences import Guarded
from solid_utils.runtime.manifest import Boundary
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, RECIPE, SAMPLES


@pytest.fixture(scope="module")
def plain():
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    return victim, secured, Told(Guarded(victim, secured, 0, Boundary()), SAMPLES[:24])


@pytest.mark.parametrize("boundary", [Boundary(rounding="int4"), Boundary(noise=0.3)])
def test_stored_states_are_shown_as_the_oracle_shows_them(plain, boundary):
    victim, secured, told = plain
    seen = price.through(told, boundary, 4, 12)
    oracle = Guarded(victim, secured, 0, boundary, 4)
    asked = pad([sample["input_ids"] for sample in SAMPLES[:12]], 0)
    assert torch.allclose(seen.boundary(*asked), oracle.boundary(*asked), rtol=1e-4, atol=1e-5)
    assert (seen.queries, seen.tokens) == (oracle.sequences, oracle.tokens) == (48, 48 * 12)
    assert seen.rounding == boundary.rounding and len(told.states) == 24, "what was told stays as it was"


def test_int4_has_fifteen_values_a_token_and_int8_is_finer():
    states = torch.randn(50, 400, generator=torch.Generator().manual_seed(3))
    coarse, fine = (rounded(states, name) for name in ("int4", "int8"))
    assert max(len(row.unique()) for row in coarse) == 15
    assert (coarse - states).norm() > 10 * (fine - states).norm() > 0
    assert torch.allclose(coarse.abs().amax(1), states.abs().amax(1)), "the largest of a token stays"


def test_a_thief_never_asks_more_than_the_most():
    counts = [100, 3200]
    assert [way for _, way, *_ in price.ways(Boundary(noise=0.3), [31])] == ["no"], "one text a mean is no fit"
    assert [way for _, way, *_ in price.ways(Boundary(noise=0.3), [32])] == ["no", "mean"]
    assert price.ways(Boundary(), counts) == price.ways(Boundary(rounding="int8"), counts)
    assert price.ways(Boundary(), counts)[-1] == price.ways(Boundary(noise=0.1), counts)[-1] == (BOTH, "no", 3200, 1)
    assert price.ways(Boundary(rounding="int4"), counts)[-1] == (LINEAR, "cells", 3200, 1)
    for boundary in price.SHOWN:
        assert max(texts * askings for *_, texts, askings in price.ways(boundary, counts)) == 3200


def test_a_row_for_the_customer_and_one_for_each_way(plain, tokenizer, tmp_path):
    victim, secured, told = plain
    shown = [Boundary(), Boundary(rounding="int4"), Boundary(noise=1.0)]
    rows = price.priced(Attacker(victim, secured, RECIPE, 42), told, tokenizer, [12, 24], HELD_OUT, shown, 2)
    ways = [(row["attack"], row["adapts"], row["queries"]) for row in rows]
    once = [("none", "no", 0), ("linear map", "no", 12), ("linear map", "no", 24)]
    coarse, loud = ("linear map", "cells", 24), ("linear map", "mean", 24)
    assert ways == [*once, ("sem_linear", "no", 24), *once, coarse, *once, loud]
    customers = [row for row in rows if row["attack"] == "none"]
    assert customers[0]["agreement"] == 1 and customers[0]["kl"] < 1e-6 < customers[1]["kl"] < customers[2]["kl"]
    assert customers[2]["n"] == sum(len(one["input_ids"]) - one["answer_start"] for one in HELD_OUT)
    assert rows[2]["kl"] != rows[10]["kl"], "the map was fitted on what the defence shows"
    identity = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32"} | facts(secured)
    schema.write([identity | row for row in rows], schema.BOUNDARIES, tmp_path / "boundaries.csv")
