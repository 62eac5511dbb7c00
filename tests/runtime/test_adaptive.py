"""Who knows of a defence loses less by it: means of askings against noise, cells against rounding."""

import numpy as np
import pytest
import torch

from solid_utils.attacks import linear_map
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model import ridge_map
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.models import open_part
from solid_utils.runtime import adaptive
from solid_utils.runtime.adaptive import BOTH, LINEAR, SEM, Attacker, Told
from solid_utils.runtime.boundary import rounded
from solid_utils.runtime.defences import Guarded
from solid_utils.runtime.manifest import Boundary
from solid_utils.settings.attack_params import Recipe
from tests.conftest import byte_llama

RECIPE = Recipe(
    steps=12, batch=8, learning_rate=1e-2, weight_decay=0.01, schedule="cosine", validate_every=12, loss="relative_mse"
)
SAMPLES = [
    {"id": str(number), "input_ids": [1 + (7 * number + 3 * place) % 200 for place in range(12)], "answer_start": 5}
    for number in range(36)
]
HELD_OUT = SAMPLES[24:]


@pytest.mark.parametrize("rounding", ["bfloat16", "int8", "int4"])
def test_a_cell_holds_what_was_rounded_and_no_value_beyond_it_does(rounding):
    """Against the rounding itself, values of all sizes."""
    states = torch.randn(200, 16, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 200)[:, None]
    shown = rounded(states, rounding)
    low, high = adaptive.cell(shown, rounding)
    slack = 1e-5 * shown.abs()
    assert ((low - slack <= states) & (states <= high + slack)).all()
    inside = shown + 0.98 * (high - shown) * shown.sign()  # away from zero: below a power of two cells are narrower
    largest = shown.abs() > 0.999 * shown.abs().amax(1, keepdim=True)  # which sets the scale of int8
    inside = shown.where(largest, inside)
    assert torch.allclose(rounded(inside, rounding), shown, rtol=1e-5)
    assert torch.equal(torch.stack(adaptive.cell(shown, "none")), torch.stack([shown, shown]))
    assert adaptive.from_cell(states, shown, rounding).max() < 1e-9 < adaptive.from_cell(states, shown, "none").min()


def victim_of(boundary: Boundary, askings: int = 1):
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    return victim, secured, Told(Guarded(victim, secured, 0, boundary, askings), SAMPLES[:24])


def test_without_a_defence_the_map_is_the_one_of_the_plain_oracle():
    victim, secured, told = victim_of(Boundary())
    opened = open_part(victim, secured.names)
    plain = linear_map.fit(opened, Oracle(victim, secured, 0), SAMPLES[:24], 2)
    for cells in (False, True):  # a cell of one value moves nothing
        mine = Attacker(victim, secured, RECIPE, 42).fitted(told, cells)
        assert torch.allclose(mine, plain, rtol=1e-3, atol=1e-5)
    assert (told.queries, told.tokens) == (24, 24 * 12)


def apart(replica, victim) -> float:
    """Relative squared distance of boundary states on held-out texts."""
    ids = torch.tensor([sample["input_ids"] for sample in HELD_OUT])
    with torch.no_grad():
        mine, theirs = (DecoderLayers(one).boundary(ids, 0) for one in (replica, victim))
    return ((mine - theirs).square().sum() / theirs.square().sum()).item()


def test_every_attack_has_nearer_states_from_a_mean_of_askings():
    victim, secured, told = victim_of(Boundary(noise=1.0))
    often = Told(Guarded(victim, secured, 0, Boundary(noise=1.0), 16), SAMPLES[:24])
    assert often.queries == 16 * told.queries
    attacker = Attacker(victim, secured, RECIPE, 42)
    for attack in (LINEAR, SEM, BOTH):
        naive, adapted = (apart(attacker.replica(attack, one, False), victim) for one in (told, often))
        assert adapted < naive, attack


class Linear(Guarded):
    """A secured part that is a linear map, behind a boundary that rounds."""

    def boundary(self, input_ids, attention_mask):
        self._count(input_ids.tolist())
        layers = DecoderLayers(self._victim)
        with torch.no_grad(), layers.replaced({0: layers.skip}):
            entering = layers.boundary(input_ids, 0)
        return self.guards[0](entering + ridge_map.features(entering, attention_mask, 0) @ TRUE)


TRUE = torch.randn(18, 16, generator=torch.Generator().manual_seed(3)) / 4


def test_where_the_map_is_right_cells_bring_it_nearer(monkeypatch):
    """Where it is wrong by more than a cell, as of a real layer, there is nothing to gain."""
    monkeypatch.setattr(adaptive, "TURNS", 20)  # each brings it a little nearer
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    told = Told(Linear(victim, secured, 0, Boundary(rounding="int8")), SAMPLES[:24])
    attacker = Attacker(victim, secured, RECIPE, 42, previous=0)
    naive, adapted = ((attacker.fitted(told, cells) - TRUE).norm().item() for cells in (False, True))
    assert 0 < adapted < 0.95 * naive < 0.1


def test_rows_are_a_held_out_text_each_and_say_what_was_asked(tokenizer, capsys):
    # So much noise that it is what counts: a map of a random layer is off by more than a little noise adds.
    shown = [Boundary(), Boundary(noise=4.0)]
    victim = byte_llama(5)
    rows = adaptive.attacked(
        victim, secured_set(victim, "layers 0"), tokenizer, SAMPLES[:24], HELD_OUT, RECIPE, shown, 4, (LINEAR,)
    )
    keys = [(row["noise"], row["attack"], row["adapts"], row["askings"], row["queries"]) for row in rows]
    wanted = [(0, "none", "no", 0, 0), (0, LINEAR, "no", 1, 24), (4.0, "none", "no", 0, 0)]
    wanted += [(4.0, LINEAR, "no", 1, 24), (4.0, LINEAR, "mean", 4, 96)]
    assert keys == [key for key in wanted for _ in HELD_OUT]
    assert [row["item"] for row in rows[:12]] == [sample["id"] for sample in HELD_OUT]
    assert all(row["agreeing"] == row["weight"] == 7 and row["kl"] < 1e-6 for row in rows[:12])
    kl = {key: np.mean([row["kl"] for row, own in zip(rows, keys, strict=True) if own == key]) for key in wanted}
    assert kl[wanted[1]] < kl[wanted[4]] < kl[wanted[3]] and kl[wanted[2]] > 1e-3
