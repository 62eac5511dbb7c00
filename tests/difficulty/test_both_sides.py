"""States on both sides are those of the plain model's own forward."""

import pytest
import torch

from solid_utils.difficulty.both_sides import BothSides, record
from tests.difficulty.conftest import FIRST, LAST, both_sides


def plain(model, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """States that enter layer 0, 1, ... of one text without padding, by Transformers."""
    with torch.no_grad():
        return model(ids[None], output_hidden_states=True, use_cache=False).hidden_states


def test_states_are_transformers_own_whatever_stands_beside_them():
    layers, seen, _ = both_sides(count=20)  # more than one batch
    below = record(layers, seen.ids, seen.mask, (-1, 0))
    for text in (0, 7, 19):
        length = int(seen.mask[text].sum())
        states = plain(layers.model, seen.ids[text, :length])
        for ours, theirs in (
            (below[-1], states[0]),
            (below[0], states[1]),
            (seen.entering, states[FIRST]),
            (seen.leaving, states[LAST + 1]),
        ):
            torch.testing.assert_close(ours[text, :length], theirs[0], rtol=1e-4, atol=1e-5)


def test_the_entry_alone_takes_no_layer():
    layers, seen, _ = both_sides()
    entering = record(layers, seen.ids, seen.mask, (-1,))[-1]
    torch.testing.assert_close(entering, layers.model.get_input_embeddings()(seen.ids).detach())


@pytest.mark.parametrize("side", ["entering", "leaving"])
def test_a_giant_state_stands_apart_wherever_it_is(side):
    stream = torch.Generator().manual_seed(6)
    states = {name: torch.randn(9, 8, 16, generator=stream) for name in ("entering", "leaving")}
    states[side][:, 0] *= 100
    states[side][4, 3] *= 10
    mask = torch.ones(9, 8, dtype=torch.int64)
    seen = BothSides(mask, mask, **states, held_out=torch.arange(9) % 3 == 0)
    assert seen.ordinary.sum() == 9 * 7 - 1 and not seen.ordinary[4, 3]


def test_first_tokens_and_padding_stand_apart(middle):
    _, seen, _ = middle
    assert not seen.ordinary[:, 0].any() and seen.ordinary.sum() == seen.mask.sum() - len(seen.mask)
    assert seen.held_out.sum() == 3 and torch.equal(seen.fitted, ~seen.held_out)
