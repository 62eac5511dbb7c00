"""Exercises of notebook 04: where gradients go, and how many test items decide a difference."""

import math
from collections.abc import Callable

from solid_utils.checks.verdict import function, number


def reached(answer: Callable[[set[int], int], list[bool]] | None) -> str:
    """`answer(open_layers, depth)` says of each layer, does a gradient reach its output?

    Raises StudyError that names the likely mistake.
    """
    cases = {
        "a bottom set": ({2, 3, 4}, 5),
        "a top set": ({0, 1}, 4),
        "a middle set": ({0, 4}, 5),
        "everything secret": (set(), 3),
    }

    def right(open_layers: set[int], depth: int) -> list[bool]:
        return [bool(open_layers) and layer >= min(open_layers) for layer in range(depth)]

    mistakes = {
        "a gradient passes through secret layers above what is trained": lambda open_layers, depth: [
            layer in open_layers for layer in range(depth)
        ],
        "below the lowest open layer nothing is trained, so nothing is reached": lambda open_layers, depth: (
            [True] * depth
        ),
        "everything secret: nothing is trained, so nothing is reached": lambda open_layers, depth: [
            layer >= min(open_layers, default=0) for layer in range(depth)
        ],
        "secret layers between two open ones are passed through, and those above the highest too": (
            lambda open_layers, depth: [
                bool(open_layers) and min(open_layers) <= layer <= max(open_layers) for layer in range(depth)
            ]
        ),
    }
    return function("where gradients go", answer, cases, right, mistakes)


def items(answer: int | None, share: float = 0.5, difference: float = 0.05) -> str:
    """`answer`: test items for which a difference of two shares near `share` is two of its standard errors.

    The two models are taken to be independent. Raises StudyError that names the likely mistake.
    """
    spread = share * (1 - share)
    mistakes = {
        "a difference has the errors of both shares": math.ceil(4 * spread / difference**2),
        "two standard errors are asked, not one": math.ceil(2 * spread / difference**2),
        "two standard errors are asked, not one, and a difference has the errors of both shares": math.ceil(
            spread / difference**2
        ),
        "an error falls with the root of the number of items": math.ceil(2 * math.sqrt(2 * spread) / difference),
    }
    return number("test items", answer, math.ceil(8 * spread / difference**2), mistakes)
