"""What the two lemmas of the paper's proof claim (A.2), measured; and what can be said in their place.

Lemma 1 bounds the part of X that is orthogonal to 1, by a factor 1 + beta_D with beta_D < 1. Lemma 2 says that the sum
of a column doubles in every layer. Both take S for a symmetric matrix: softmax gives S 1 = 1, not 1^T S = 1^T.
"""

import numpy as np

from solid_utils.theory import attention


def column_factors(states: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """1^T phi(X) / 1^T X for every column, (d,). Lemma 2 claims 2."""
    return (states + weights @ states).sum(axis=0) / states.sum(axis=0)


def orthogonal_gain(weights: np.ndarray) -> float:
    """max |S v| over unit v orthogonal to 1: Lemma 1's beta, for one S."""
    tokens = len(weights)
    return float(np.linalg.norm(weights @ (np.eye(tokens) - 1 / tokens), 2))


def asymmetry(weights: np.ndarray) -> float:
    """|S - S^T|_F / |S|_F: 0 where the eigenvectors of Lemma 1's proof would be orthonormal."""
    return float(np.linalg.norm(weights - weights.T) / np.linalg.norm(weights))


def contraction(weights: np.ndarray) -> float:
    """tau = 1 - sum_j min_i S_ij, Dobrushin's coefficient bound: osc(S x) <= tau osc(x) for every column x."""
    return float(1 - weights.min(axis=0).sum())


def contraction_bound(norm: float, keys: int = attention.KEYS) -> float:
    """tau <= 1 - exp(-2 D^2 / sqrt(d_Q)) < 1: scores lie within D^2 / sqrt(d_Q) of 0, so S_ij >= exp(-2 ...) / n."""
    return float(-np.expm1(-2 * norm**2 / np.sqrt(keys)))


def oscillation(states: np.ndarray) -> float:
    """osc(X): the largest difference between two rows in any column; 0 where all rows are one."""
    return float((states.max(axis=0) - states.min(axis=0)).max())


def survey(norm: float, draws: int, seed: int) -> dict[str, float]:
    """Both lemmas over random layers of spectral norm D.

    `columns_off`: share of columns whose sum is off the claimed factor 2 by more than 1 %. `largest_gain`: largest
    |S v|. `asymmetry`: mean. `largest_tau` and `tau_bound`: what holds instead.
    """
    stream = np.random.default_rng(seed)
    factors, gains, skews, taus = [], [], [], []
    for _ in range(draws):
        states = attention.draw_states(stream)
        keys = attention.draw_matrix(stream, norm)
        queries = attention.draw_matrix(stream, norm)
        own = attention.weights(states, keys, queries)
        factors.append(column_factors(states, own))
        gains.append(orthogonal_gain(own))
        skews.append(asymmetry(own))
        taus.append(contraction(own))
    return {
        "norm": norm,
        "columns_off": float(np.mean(np.abs(np.array(factors) / 2 - 1) > 0.01)),
        "largest_gain": max(gains),
        "asymmetry": float(np.mean(skews)),
        "largest_tau": max(taus),
        "tau_bound": contraction_bound(norm),
    }


def critical_alpha(beta: float) -> float:
    """alpha* = log2(2 / (1 + beta_D)) (A.3); at most 0 where beta_D is 1 or more, so there is no transition then."""
    return float(np.log2(2 / (1 + beta)))
