"""Exercises of notebook 02: the rule of the transition, and pairs of neighbouring layers."""

from collections.abc import Callable, Mapping

import numpy as np

from solid_utils.checks.verdict import OPEN, RIGHT, function, mistaken, numbers, other_type


def transition(answer: Callable[[list[float], float, float], int] | None) -> str:
    """`answer(values, floor, ceiling)`: the first layer whose DD is below half of the way from floor to ceiling.

    Layers count from 0; where none is below, it is their number. Raises StudyError that names the likely mistake.
    """
    cases = {
        "a fall": ([9.0, 7.0, 5.5, 4.5, 2.0], 2.0, 10.0),
        "a fall and a rise": ([9.0, 3.0, 7.0, 4.0], 2.0, 10.0),
        "no fall": ([9.0, 8.0], 2.0, 10.0),
    }

    def right(values: list[float], floor: float, ceiling: float) -> int:
        return first_below(values, floor + (ceiling - floor) / 2)

    mistakes = {
        "half of the ceiling; the way begins at the victim's own loss": lambda values, floor, ceiling: first_below(
            values, ceiling / 2
        ),
        "half of the way was not added to the floor": lambda values, floor, ceiling: first_below(
            values, (ceiling - floor) / 2
        ),
        "layers count from 0": lambda *asked: right(*asked) + 1,
        "the first layer below is asked, not how many are above": lambda values, floor, ceiling: sum(
            value >= (floor + ceiling) / 2 for value in values
        ),
    }
    return function("transition", answer, cases, right, mistakes)


def first_below(values: list[float], bar: float) -> int:
    return next((place for place, value in enumerate(values) if value < bar), len(values))


def pairs(answer: Mapping[str, float] | None, singles: Mapping[str, float], ceiling: float) -> str:
    """`answer`: DD of every pair of neighbouring layers by its declaration, such as "layers 0-1".

    `singles`: DD of every layer by "layers 0". Says how far the sum of two singles is off. Raises StudyError that names
    the likely mistake.
    """
    if answer is None:
        return OPEN
    if not isinstance(answer, Mapping):
        raise other_type("pairs", "a DD for each pair, as a dict,", answer)
    depth = len(singles)
    wanted = [f"layers {place}-{place + 1}" for place in range(depth - 1)]
    if missing := [name for name in wanted if name not in answer]:
        raise mistaken("pairs", f"no '{missing[0]}'; {depth} layers have {depth - 1} pairs of neighbours")
    if foreign := [name for name in answer if name not in wanted]:
        raise mistaken("pairs", f"'{foreign[0]}' is no pair of neighbours; the last begins at layer {depth - 2}")
    measured = numbers("pairs", "DDs", [answer[name] for name in wanted])
    if measured.ndim != 1 or not np.isfinite(measured).all():
        raise mistaken("pairs", "a DD that is no number: a secret layer was left unfilled")
    alone = np.array([float(singles[f"layers {place}"]) for place in range(depth)])
    if np.array_equal(measured, alone[:-1]) or np.array_equal(measured, alone[1:]):
        raise mistaken("pairs", "these are the DDs of single layers: both of a pair have to be random")
    if np.allclose(measured, alone[:-1] + alone[1:]):
        raise mistaken("pairs", "these are sums of two single DDs: what was asked is whether they predict the pair's")
    above = (alone[:-1] + alone[1:] > ceiling).mean()
    gap = np.abs(alone[:-1] + alone[1:] - measured).mean()
    return f"{RIGHT}: sums are off by {gap:.2f} nats on average, and {above:.0%} of them lie above the ceiling"
