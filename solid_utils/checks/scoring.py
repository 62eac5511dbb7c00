"""Exercises of notebook 01: the SOLID search, and what a head that is known does to a start."""

from collections.abc import Callable

import numpy as np

from solid_utils.checks.verdict import OPEN, RIGHT, function, mistaken

NEAR = 0.02  # of ln V: a start this near to it says nothing either way


def search(answer: Callable[[list[float], float, float], int] | None) -> str:
    """`answer(values, ceiling, epsilon)`: l* from the DDs of the bottom 1, 2, ... layers and that of everything.

    Raises StudyError that names the likely mistake.
    """
    cases = {
        "a curve that rises": ([2.0, 8.0, 9.6, 9.8], 10.0, 0.05),
        "a curve above its ceiling": ([4.0, 9.8, 12.0, 11.0], 10.0, 0.05),
        "a first layer that is enough": ([9.9, 9.0], 10.0, 0.05),
        "a curve that never passes": ([1.0, 2.0, 3.0], 10.0, 0.05),
        "another tolerance": ([4.0, 5.0, 9.0], 10.0, 0.5),
    }

    def right(values: list[float], ceiling: float, epsilon: float) -> int:
        return first(values, (1 - epsilon) * ceiling)

    mistakes = {
        "places are counted from 0, layers secured from 1": lambda *asked: right(*asked) - 1,
        "the bar is a share of the DD of everything, not of the curve's largest value": lambda values, _, epsilon: (
            first(values, (1 - epsilon) * max(values))
        ),
        "the smallest l that passes is asked, not the largest DD": lambda values, *_: int(np.argmax(values)) + 1,
        "the bar is (1 - epsilon) of the ceiling, not epsilon of it": lambda values, ceiling, epsilon: first(
            values, epsilon * ceiling
        ),
        "the tolerance is left out": lambda values, ceiling, _: first(values, ceiling),
    }
    return function("SOLID search", answer, cases, right, mistakes)


def first(values: list[float], bar: float) -> int:
    """The smallest l whose DD reaches a bar; all layers where none does."""
    return next((layers for layers, value in enumerate(values, 1) if value >= bar), len(values))


def known_head(answer: str | None, kept: float, uniform: float) -> str:
    """`answer`: is the DD of all layers random, embeddings and head known, "above" or "below" ln V?

    `kept`: that DD as it was measured; `uniform`: ln V, both in nats. Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    if not isinstance(answer, str) or answer not in ("above", "below"):
        raise mistaken("known head", 'say "above" or "below"')
    if abs(kept - uniform) < NEAR * uniform:
        return f"{RIGHT} either way: {kept:.2f} is ln V, as this victim's own head is random"
    if (kept > uniform) == (answer == "above"):
        return RIGHT
    if answer == "below":
        why = "you forgot the head: it is trained, and answers random states with confidence"
    else:
        why = "this head is less sure than you thought; look at its logits"
    raise mistaken("known head", f"{kept:.2f} nats were measured, ln V is {uniform:.2f}: {why}")
