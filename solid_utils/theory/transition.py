"""Where alpha* comes from (A.3): the proof's bound with Lemma 2 on some layers or on all, and what the stack does."""

from collections.abc import Sequence

import numpy as np

from solid_utils.theory import attention, counterexamples, stack

PAIR = 2  # width of the input whose columns sum to 0


def log2_bound(beta: float, alpha: float) -> float:
    """log2, a layer, of the proof's ratio (16d): the part orthogonal to 1 grows by 1 + beta_D in every layer, the sum
    by 2 in the (1 - alpha) L layers above the wrong one. Negative below alpha*, so that the ratio vanishes there only.
    """
    return float(np.log2(1 + beta) - (1 - alpha))


def log2_bound_everywhere(beta: float) -> float:
    """The same with Lemma 2 on the layers below as well: negative for every alpha, as beta_D < 1 is all it asks."""
    return log2_bound(beta, 0.0)


def off_the_limit(states: np.ndarray) -> float:
    """|X - 1 m^T|_F / |X|_F with m the mean row: 0 where every column is parallel to 1, which (11) calls collapse."""
    return float(np.linalg.norm(states - states.mean(axis=0)) / np.linalg.norm(states))


def collapse_by_alpha(
    states: np.ndarray, layers: Sequence[stack.Layer], others: Sequence[stack.Layer], alphas: Sequence[float]
) -> list[float]:
    """`off_the_limit` of the replica's output, with layer alpha L (counted from 1) wrong, for every alpha."""
    places = [max(round(alpha * len(layers)), 1) - 1 for alpha in alphas]
    return [off_the_limit(stack.run(states, stack.replaced(layers, k, others[k]))[-1]) for k in places]


def sums_from_zero(stream: np.random.Generator, draws: int, norm: float) -> list[float]:
    """|1^T phi(X)| / |X|_F, the largest column, for X = [Z; -Z] and one K and Q a draw: (15) asks that it is not 0."""
    states = counterexamples.symmetric_pair()
    drawn = ([attention.draw_matrix(stream, norm, PAIR, PAIR) for _ in range(2)] for _ in range(draws))
    sums = (attention.layer(states, keys, queries).sum(axis=0) for keys, queries in drawn)
    return [float(np.abs(one).max() / np.linalg.norm(states)) for one in sums]
