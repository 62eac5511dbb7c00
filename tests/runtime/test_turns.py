"""Two bottoms by turns: which answers a text, what each thief fits on, noise costs the customer, a trained second."""

from functools import partial

import pytest
import torch

from solid_utils.core import schema
from solid_utils.deployment.described import facts
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model.forward import pad
from solid_utils.runtime import turns, twins
from solid_utils.runtime.adaptive import BOTH, LINEAR, Attacker, Told
from solid_utils.settings import params
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, RECIPE, SAMPLES

PLAIN = params.load().model("tiny").model_copy(update={"autocast": None})


@pytest.fixture(scope="module")
def pair():
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    return victim, twins.noisy(victim, secured, 0.5), secured


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


def test_what_is_counted_is_what_was_asked(pair):
    *both, secured = pair
    for way, askings in ((turns.TOGETHER, 24), (turns.TWICE, 24), (turns.TOLD, 12)):
        oracles = [Oracle(model, secured, 0) for model in both]
        told = Told(turns.Turns(oracles, SAMPLES[:24], way), turns.asked(SAMPLES[:24], way))
        assert (told.queries, told.tokens) == (askings, askings * 12)


@pytest.mark.parametrize("autocast", [None, "bfloat16"])  # whose rounded weights have to be those of the step
def test_a_trained_second_serves_better_than_its_noise_and_differs_in_secret_tensors_alone(
    tokenizer, monkeypatch, autocast
):
    monkeypatch.setitem(twins.RECIPE, "learning_rate", 1e-2)  # of so small a model
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    noisy = twins.noisy(victim, secured, 1.0)
    trained = twins.trained(victim, secured, 1.0, SAMPLES[:24], 60, 0, PLAIN.model_copy(update={"autocast": autocast}))
    off = {}
    for name, model in {"noisy": noisy, "trained": trained}.items():
        rows = fidelity.fidelity(model, victim, tokenizer, HELD_OUT).rows
        off[name] = next(row["value"] for row in rows if row["metric"] == "kl")
    assert off["trained"] < 0.8 * off["noisy"]
    theirs = dict(trained.named_parameters())
    changed = {name for name, parameter in victim.named_parameters() if not torch.equal(theirs[name], parameter)}
    assert changed == set(secured.names)
    oracles = [Oracle(model, secured, 0) for model in (victim, trained)]
    assert twins.apart([oracles[0], oracles[0]], SAMPLES) == 0 < twins.apart(oracles, SAMPLES)


def test_how_far_apart_is_a_share_of_the_firsts_norm(pair):
    victim, _, secured = pair
    oracle = Oracle(victim, secured, 0)

    class Doubled:
        def boundary(self, *asked):
            return 3 * oracle.boundary(*asked)

    assert twins.apart([oracle, Doubled()], SAMPLES) == pytest.approx(2)


def test_rows_of_customer_and_thieves(tokenizer, tmp_path, monkeypatch):
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    monkeypatch.setattr(turns, "SPREADS", (0.0, 0.5))
    monkeypatch.setattr(turns, "TRAINED", (0.5,))
    healed = partial(twins.trained, victim, secured, samples=SAMPLES[24:], steps=4, pad_id=0, spec=PLAIN)
    seconds = turns.pairs(victim, secured, healed)
    pairs = list(turns.measured(Attacker(victim, secured, RECIPE, 42), tokenizer, SAMPLES[:24], HELD_OUT, seconds))
    rows = [row for pair in pairs for row in pair]
    assert [len(pair) for pair in pairs] == [3, 5, 5]
    found = {(row["twin"], row["spread"], row["attack"], row["adapts"]): row for row in rows}
    assert len(found) == len(rows) == 3 + 2 * 5
    assert found["noise", 0, "none", "no"]["agreement"] == 1 > found["noise", 0.5, "none", "no"]["agreement"]
    assert found["noise", 0, "none", "no"]["apart"] == 0 < found["noise", 0.5, LINEAR, "no"]["apart"]
    assert {row["queries"] for row in rows if row["attack"] != "none"} == {24}
    for kind in (twins.NOISE, twins.TRAINED):
        assert {way for twin, spread, attack, way in found if (twin, attack) == (kind, LINEAR)} == set(turns.WAYS)
        assert found[kind, 0.5, BOTH, "no"]["kl"] != found[kind, 0.5, LINEAR, "no"]["kl"]
    assert found["noise", 0.5, LINEAR, "mean"]["tokens"] == found["noise", 0.5, LINEAR, "no"]["tokens"] == 24 * 12
    own = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32", "seed": 1} | facts(secured)
    schema.write([own | row for row in rows], schema.TURNS, tmp_path / "turns.csv")
