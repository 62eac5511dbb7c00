"""The table of endings, against a search over all fitted tokens."""

import pytest
import torch

from solid_utils.difficulty import lookup as tables
from solid_utils.difficulty.both_sides import BothSides
from solid_utils.difficulty.residual import centred_residual


def alike(one: list[int], two: list[int]) -> int:
    """How long an ending of at most three tokens two texts share."""
    count = 0
    while count < min(3, len(one), len(two)) and one[-1 - count] == two[-1 - count]:
        count += 1
    return count


def test_a_guess_is_the_mean_of_the_fitted_tokens_most_alike(middle):
    _, seen, _ = middle
    ids = seen.ids.tolist()
    fitted = [tuple(place) for place in (seen.ordinary & seen.fitted[:, None]).nonzero().tolist()]
    guess = tables.guessed(seen, tables.table(seen))
    lengths = set()
    for number, text in enumerate(seen.held_out.nonzero()[:, 0].tolist()):
        for place in seen.ordinary[text].nonzero()[:, 0].tolist():
            shared = {one: alike(ids[text][: place + 1], ids[one[0]][: one[1] + 1]) for one in fitted}
            longest = max(shared.values())
            lengths.add(longest)
            near = [seen.leaving[one] - seen.entering[one] for one in fitted if shared[one] == longest]
            expected = seen.entering[text, place] + torch.stack(near).mean(0)
            torch.testing.assert_close(guess[number, place], expected, rtol=1e-4, atol=1e-5)
    assert len(lengths) > 1, "texts that do not differ here would show nothing"


def test_a_part_that_looks_at_the_token_alone_is_looked_up():
    stream = torch.Generator().manual_seed(4)
    ids = torch.randint(0, 6, (20, 10), generator=stream)
    entering = torch.randn(20, 10, 4, generator=stream)
    by_token = 3 * torch.randn(6, 4, generator=stream)
    seen = BothSides(ids, torch.ones_like(ids), entering, entering + by_token[ids], torch.arange(20) % 5 == 0)
    assert tables.lookup(seen) == pytest.approx(1, abs=1e-6)


def test_a_token_that_was_never_seen_gets_the_mean(middle):
    _, seen, _ = middle
    strange = seen.ids.clone()
    strange[seen.held_out] += 50
    other = BothSides(strange, seen.mask, seen.entering, seen.leaving, seen.held_out)
    rows = seen.ordinary & seen.fitted[:, None]
    mean = (seen.leaving - seen.entering)[rows].mean(0)
    guess = tables.guessed(other, tables.table(other))
    later = seen.ordinary[seen.held_out]
    torch.testing.assert_close(guess[later], (seen.entering[seen.held_out] + mean)[later], rtol=1e-4, atol=1e-5)
    assert tables.lookup(other) == 0, "nothing gained over the mean"


def test_a_part_that_hands_its_state_on_is_no_table():
    """R^2 of any guess near the entering state would be high there."""
    stream = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 6, (20, 10), generator=stream)
    entering = 10 * torch.randn(20, 10, 4, generator=stream)
    leaving = entering + torch.randn(20, 10, 4, generator=stream)
    seen = BothSides(ids, torch.ones_like(ids), entering, leaving, torch.arange(20) % 5 == 0)
    assert 1 - centred_residual(seen, tables.guessed(seen, tables.table(seen))) > 0.9
    assert tables.lookup(seen) < 0.1
