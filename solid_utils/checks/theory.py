"""Exercises of notebook 00: the contraction of attention weights, and a stack with a value matrix."""

from collections.abc import Callable

import numpy as np

from solid_utils.checks.verdict import OPEN, RIGHT, function, mistaken, numbers

TOKENS, WIDTH = 8, 16
DEPTH = 40
COLLAPSED = 1e-2  # of sigma_2 / sigma_1: a stack that collapses is far below after DEPTH layers
NOTHING = 0.05  # of a spectral norm: V below this adds next to nothing


def tau(answer: Callable[[np.ndarray], float] | None) -> str:
    """`answer(weights)`: tau = 1 - sum_j min_i S_ij of attention weights (n, n), whose rows sum to 1.

    Raises StudyError that names the likely mistake.
    """
    cases = {
        "everybody sees the first token": (np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]]),),
        "even weights": (np.full((4, 4), 0.25),),
        "everybody sees himself": (np.eye(3),),
    }
    mistakes = {
        "the least weight of each row; take that of each column, what every token gives to one": lambda weights: (
            1 - weights.min(axis=1).sum()
        ),
        "that is what all tokens share; tau is what is left of 1": lambda weights: weights.min(axis=0).sum(),
        "a mean over columns; take their sum": lambda weights: 1 - weights.min(axis=0).mean(),
    }
    return function("tau", answer, cases, lambda weights: 1 - weights.min(axis=0).sum(), mistakes)


def values(answer: np.ndarray | None) -> str:
    """`answer`: a value matrix V (16, 16) with which phi(X) = X + S X V does not collapse to rank one.

    Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    matrix = numbers("value matrix", "V", answer)
    if matrix.shape != (WIDTH, WIDTH):
        raise mistaken("value matrix", f"it maps {WIDTH} numbers of a token to {WIDTH}, not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise mistaken("value matrix", "it holds values that are no finite numbers")
    if np.linalg.norm(matrix, 2) < NOTHING:
        raise mistaken("value matrix", "V is next to nothing, so nothing is attended to; take a V that adds something")
    ratio = last_ratio(matrix)
    if ratio > COLLAPSED:
        return RIGHT
    real = np.linalg.eigvals(matrix).real
    if real.min() < -2:
        why = "an eigenvalue below -2: the average comes back with the other sign, and larger"
    elif real.min() >= 0:
        why = "no negative eigenvalue: averages of rows are still added, and drown what differs"
    else:
        why = "some averages are taken away, others still grow: look at the largest eigenvalue as well"
    raise mistaken("value matrix", f"sigma2/sigma1 is {ratio:.0e} after {DEPTH} layers, so it collapses; {why}")


def last_ratio(matrix: np.ndarray) -> float:
    """sigma_2 / sigma_1 after DEPTH layers with value matrix V and attention weights near even."""
    stream = np.random.default_rng(0)
    states = stream.standard_normal((TOKENS, WIDTH))
    for _ in range(DEPTH):
        scores = 0.1 * stream.standard_normal((TOKENS, TOKENS))
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        states = states + weights @ states @ matrix
        states = states / np.linalg.norm(states)
    spectrum = np.linalg.svd(states, compute_uv=False)
    return float(spectrum[1] / spectrum[0])
