"""What a check says. A mistake is known by what it gives: each likely one is written down as code of its own."""

import copy
from collections.abc import Callable

import numpy as np

from solid_utils.core.errors import StudyError

OPEN = "not answered yet"
RIGHT = "right"
NO_NUMBER = (TypeError, ValueError, OverflowError, RuntimeError)  # what a conversion ends in; the last is torch's
CLOSE = 1e-3  # of a number, as a share: answers are rounded


def mistaken(exercise: str, mistake: str) -> StudyError:
    """The error that names a mistake."""
    return StudyError(f"exercise: {exercise}: {mistake}; try again")


def other_type(exercise: str, what: str, answer: object) -> StudyError:
    """The error of an answer of another type."""
    return mistaken(exercise, f"{what} is asked, not {type(answer).__name__}")


def numbers(exercise: str, of: str, values: object) -> np.ndarray:
    """An array or lists as float64. Raises StudyError, with what they are `of`, where they hold anything else."""
    try:
        return np.asarray(values, dtype=float)
    except NO_NUMBER:
        raise mistaken(exercise, f"{of}: numbers are asked, and nothing else") from None


def number(exercise: str, answer: object, right: float, mistakes: dict[str, float]) -> str:
    """Compare a number with the right one. `mistakes`: what each likely mistake gives.

    Raises StudyError with the mistake, also where the answer is no number.
    """
    if answer is None:
        return OPEN
    try:
        given = float(answer)
    except NO_NUMBER:
        raise other_type(exercise, "a number", answer) from None
    if not np.isfinite(given):
        raise mistaken(exercise, "that is no finite number")
    if alike(given, right):
        return RIGHT
    for mistake, wrong in mistakes.items():
        if alike(given, wrong):
            raise mistaken(exercise, mistake)
    raise mistaken(exercise, f"{given:.6g} is {'more' if given > right else 'less'} than it is")


def function(
    exercise: str, answer: Callable | None, cases: dict[str, tuple], right: Callable, mistakes: dict[str, Callable]
) -> str:
    """Call an answer on the inputs of every case, and compare with `right`. `mistakes`: each as a function of its own.

    Raises StudyError with the mistake that gives the same everywhere, else with the first case that differs.
    """
    if answer is None:
        return OPEN
    if not callable(answer):
        raise other_type(exercise, "a function", answer)
    given = {case: called(exercise, case, answer, inputs) for case, inputs in cases.items()}
    wanted = {case: right(*copy.deepcopy(inputs)) for case, inputs in cases.items()}
    if all(alike(given[case], wanted[case]) for case in cases):
        return RIGHT
    for mistake, wrong in mistakes.items():
        if all(alike(given[case], wrong(*copy.deepcopy(inputs))) for case, inputs in cases.items()):
            raise mistaken(exercise, mistake)
    case = next(case for case in cases if not alike(given[case], wanted[case]))
    raise mistaken(exercise, f"{case}: not what the definition gives")


def called(exercise: str, case: str, answer: Callable, inputs: tuple) -> object:
    """What an answer gives; it may spoil its inputs, which are copies. Raises StudyError where it fails."""
    try:
        return answer(*copy.deepcopy(inputs))
    except Exception as error:  # the student's own code: whatever it is, it is his to mend
        said = " ".join(str(error).split())[:120]
        raise mistaken(exercise, f"{case}: your function ends in {type(error).__name__}: {said}") from None


def alike(given: object, wanted: object) -> bool:
    """Are two numbers, or two lists of them, the same up to rounding?"""
    try:
        one = np.asarray(given, dtype=float)
        other = np.asarray(wanted, dtype=float)
    except NO_NUMBER:
        return False
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=CLOSE, atol=1e-9))
