"""Inputs on which the theorem's two parts do not say what they are read to say."""

import numpy as np

from solid_utils.theory import attention


def symmetric_pair() -> np.ndarray:
    """X = [Z; -Z] with Z = I_2, (4, 2): 1^T X = 0 exactly."""
    half = np.eye(2)
    return np.concatenate([half, -half])


def symmetric_depths(depth: int, place: int, other: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The normalised output for `symmetric_pair` under open layers K = Q = 0 and one distilled layer at `place`.

    Whatever that layer is, S(X) of [Z; -Z] keeps the sign symmetry, so 1^T X stays 0 and rank two stays rank two: part
    (1) fails at every alpha. The sign symmetry is kept exact: rounding alone would feed the direction of 1.
    """
    states = symmetric_pair()
    zero = np.zeros_like(other[0])
    for index in range(depth):
        keys, queries = other if index == place else (zero, zero)
        states = attention.layer(states, keys, queries)
        half = (states[:2] - states[2:]) / 2
        states = np.concatenate([half, -half])
        states /= np.linalg.norm(states)
    return states


def solver_of_lemma_one(stream: np.random.Generator, tokens: int = attention.TOKENS) -> np.ndarray:
    """X* = [v, ..., v] = v 1^T of the proof of part (2), (n, n), with a unit v orthogonal to 1. Its rank is one.

    "No column is parallel to 1" is what the proof shows of f(X*); that its rank is above one, as the theorem says, it
    does not: all columns are the same vector.
    """
    vector = stream.standard_normal(tokens)
    vector -= vector.mean()
    vector /= np.linalg.norm(vector)
    return np.outer(vector, np.ones(tokens))


def near_theft(stream: np.random.Generator, matrix: np.ndarray, error: float = 1e-6) -> np.ndarray:
    """K + error * N(0, 1): drawn from a continuous distribution, as the theorem asks, and a perfect theft."""
    return matrix + error * stream.standard_normal(matrix.shape)
