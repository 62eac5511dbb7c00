"""Many layers on top of each other, normalised after each: what Theorem 1 says of f_inf, and how fast it comes."""

from collections.abc import Sequence

import numpy as np

from solid_utils.theory import attention, lemmas

Layer = tuple[np.ndarray, np.ndarray]  # K and Q, (d, d_Q) each


def draw_layers(stream: np.random.Generator, depth: int, norm: float) -> list[Layer]:
    """`depth` layers of spectral norm D."""
    return [(attention.draw_matrix(stream, norm), attention.draw_matrix(stream, norm)) for _ in range(depth)]


def run(states: np.ndarray, layers: Sequence[Layer], causal: bool = False) -> list[np.ndarray]:
    """X / |X|_F and the normalised output of every layer, depth + 1 of shape (n, d).

    Normalised each time, which changes nothing, as phi(c X) = c phi(X), and keeps 60 doublings within float64.
    """
    outputs = [states / np.linalg.norm(states)]
    for keys, queries in layers:
        raised = attention.layer(outputs[-1], keys, queries, causal)
        outputs.append(raised / np.linalg.norm(raised))
    return outputs


def halved(states: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """X_L / 2^L, (n, d), which tends to 1 c^T: every layer's (I + S) / 2 is an average of the rows."""
    state = states
    for keys, queries in layers:
        state = attention.layer(state, keys, queries) / 2
    return state


def last_ratio(states: np.ndarray) -> float:
    """sigma_2 / sigma_1: 0 at rank one."""
    values = np.linalg.svd(states, compute_uv=False)
    return float(values[1] / values[0])


def replaced(layers: Sequence[Layer], place: int, other: Layer) -> list[Layer]:
    """The same layers with another one at a place (0-based): what a thief has after his attack."""
    return [*layers[:place], other, *layers[place + 1 :]]


def taus(states: np.ndarray, layers: Sequence[Layer]) -> list[float]:
    """tau of every layer on what enters it."""
    entering = run(states, layers)[:-1]
    return [
        lemmas.contraction(attention.weights(state, keys, queries))
        for state, (keys, queries) in zip(entering, layers, strict=True)
    ]


def distance(victim: np.ndarray, replica: np.ndarray) -> float:
    """|f - f^(k)|_F of two normalised outputs, the nearer of the two signs."""
    return float(min(np.linalg.norm(victim - replica), np.linalg.norm(victim + replica)))


def harm_by_place(states: np.ndarray, layers: Sequence[Layer], others: Sequence[Layer]) -> list[float]:
    """`distance` of the outputs when one layer is wrong, for every place of it."""
    victim = run(states, layers)[-1]
    return [distance(victim, run(states, replaced(layers, place, others[place]))[-1]) for place in range(len(layers))]


def harm_bound(states: np.ndarray, layers: Sequence[Layer]) -> list[float]:
    """prod_{i<k} (1 + tau_i) / 2 * osc(X) / |c|, for every place k of a wrong layer: ours, up to a constant.

    Proof. Let A_i = (I + S_i) / 2, an average of rows: osc(A_i X) <= (1 + tau_i) / 2 osc(X). Two averages of the rows
    that enter layer k differ by at most their osc, so by prod_{i<k} (1 + tau_i) / 2 osc(X). Above it,
    A' X' - A X = A' (X' - X) + (A' - A) X: the first part does not grow. Rows of A' - A sum to 0, so the second is at
    most a constant times |X' - X| osc(X) / |X|, which shrinks geometrically. Both limits have equal rows, and
    normalising divides by |c| sqrt(n).
    """
    limit = np.linalg.norm(halved(states, layers)) / np.sqrt(len(states))
    shrunk = np.cumprod([1.0, *[(1 + tau) / 2 for tau in taus(states, layers)[:-1]]])
    return [float(value) for value in shrunk * lemmas.oscillation(states) / limit]
