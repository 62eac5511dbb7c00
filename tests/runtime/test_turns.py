"""Two bottoms by turns: which answers a text, what each thief fits on, and that noise costs the customer."""

import pytest
import torch

from solid_utils.core import schema
from solid_utils.deployment.described import facts
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model.forward import pad
from solid_utils.runtime import turns
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, SAMPLES


@pytest.fixture(scope="module")
def pair():
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    return victim, turns.twin(victim, secured, 0.5), secured


def test_the_twin_differs_in_secret_matrices_alone_and_by_so_much(pair):
    victim, other, secured = pair
    theirs = dict(other.named_parameters())
    for name, parameter in victim.named_parameters():
        off = (theirs[name] - parameter).square().mean().sqrt() / parameter.square().mean().sqrt()
        assert off.item() == pytest.approx(0.5 if name in secured.names and parameter.dim() > 1 else 0, abs=0.1)


@pytest.mark.parametrize(("way", "shares"), [(turns.TOGETHER, (1, 0)), (turns.TWICE, (0.5, 0.5)), (turns.TOLD, (1, 0))])
def test_each_text_is_answered_by_one_or_the_mean_of_both(pair, way, shares):
    *both, secured = pair
    oracles = [Oracle(model, secured, 0) for model in both]
    asked = pad([sample["input_ids"] for sample in SAMPLES[:4]], 0)
    first, second = (oracle.boundary(*asked) for oracle in oracles)
    shown = turns.Turns(oracles, SAMPLES, way).boundary(*asked)
    torch.testing.assert_close(shown[0], shares[0] * first[0] + shares[1] * second[0])
    odd = shares if way == turns.TWICE else (0, 1)
    torch.testing.assert_close(shown[1], odd[0] * first[1] + odd[1] * second[1])


def test_who_tells_them_apart_fits_on_one_alone():
    assert {int(sample["id"]) % 2 for sample in turns.asked(SAMPLES, turns.TOLD)} == {0}
    assert len(turns.asked(SAMPLES, turns.TWICE)) == len(SAMPLES) // 2
    assert turns.asked(SAMPLES, turns.TOGETHER) == SAMPLES


def test_rows_of_customer_and_thieves(tokenizer, tmp_path):
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    rows = turns.measured(victim, secured, tokenizer, SAMPLES[:24], HELD_OUT, spreads=(0.0, 0.5))
    found = {(row["spread"], row["attack"], row["adapts"]): row for row in rows}
    assert len(found) == len(rows) == 2 + 4
    assert found[0, "none", "no"]["agreement"] == 1 > found[0.5, "none", "no"]["agreement"]
    assert {row["queries"] for row in rows if row["attack"] != "none"} == {24}
    assert found[0.5, "linear map", "mean"]["tokens"] == found[0.5, "linear map", "no"]["tokens"] == 24 * 12
    own = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32", "seed": 1} | facts(secured)
    schema.write([own | row for row in rows], schema.TURNS, tmp_path / "turns.csv")
