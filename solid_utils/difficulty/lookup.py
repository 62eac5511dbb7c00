"""What a table gets: what the secured part added at the fitted token whose last three tokens are most alike.

The nearest neighbour in token space: of a held-out token the fitted ones that share the longest ending of at most
three token ids, their mean where there are several, the mean of all where none has the same token. The gain is the
share that this takes of the squared error which the mean alone leaves, giant states apart. (Not in the paper.)
"""

from torch import Tensor

from solid_utils.difficulty.both_sides import BothSides
from solid_utils.difficulty.residual import centred_residual

LONGEST = 3  # tokens of an ending


def table(seen: BothSides) -> dict[tuple[int, ...], Tensor]:
    """Mean of what was added (width,), float64, by ending; the empty ending is the mean of all fitted tokens."""
    added = (seen.leaving - seen.entering).double()
    sums: dict[tuple[int, ...], Tensor] = {}
    counts: dict[tuple[int, ...], int] = {}
    ordinary = seen.ordinary
    for text in seen.fitted.nonzero()[:, 0].tolist():
        tokens = seen.ids[text].tolist()
        for place in ordinary[text].nonzero()[:, 0].tolist():
            for ending in endings(tokens, place):
                sums[ending] = sums.get(ending, 0) + added[text, place]
                counts[ending] = counts.get(ending, 0) + 1
    return {ending: total / counts[ending] for ending, total in sums.items()}


def endings(tokens: list[int], place: int) -> list[tuple[int, ...]]:
    """The endings of a text at a place, the longest first, the empty one last."""
    return [tuple(tokens[place + 1 - length : place + 1]) for length in range(min(LONGEST, place + 1), -1, -1)]


def guessed(seen: BothSides, known: dict[tuple[int, ...], Tensor]) -> Tensor:
    """The table's states of the held-out texts, (texts, tokens, width); others than ordinary ones as they entered."""
    guess = seen.entering[seen.held_out].clone()
    ids = seen.ids[seen.held_out]
    for text, place in seen.ordinary[seen.held_out].nonzero().tolist():
        ending = next(one for one in endings(ids[text].tolist(), place) if one in known)
        guess[text, place] += known[ending].to(guess)
    return guess


def lookup(seen: BothSides) -> float:
    """What the table gains on the held-out texts over the mean of what was added: at most 1, below 0 where it harms.

    Not R^2: a layer that changes its state little would score high by handing it on.
    """
    known = table(seen)
    mean = {(): known[()]}
    return 1 - centred_residual(seen, guessed(seen, known)) / centred_residual(seen, guessed(seen, mean))
