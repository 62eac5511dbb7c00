"""The paper's transformer layer (4.1, equation (3)): attention weights, the layer, and how they are drawn here."""

import numpy as np

TOKENS, WIDTH, KEYS = 8, 16, 16  # n, d and d_Q of the notebook
ROW_SPREAD = 1.5  # rows of X are scaled by exp(ROW_SPREAD * N(0, 1)): the paper's claims see only how unequal rows are


def weights(states: np.ndarray, keys: np.ndarray, queries: np.ndarray, causal: bool = False) -> np.ndarray:
    """S(X; K, Q), (n, n): softmax over the rows of X Q (X K)^T / (sqrt(d_Q) |X|_F^2).

    `states` is X, (n, d); `keys` and `queries` are (d, d_Q). With `causal` a token sees itself and those before it.
    """
    scale = np.sqrt(keys.shape[1]) * np.linalg.norm(states) ** 2
    scores = states @ queries @ (states @ keys).T / scale
    if causal:
        scores = np.where(np.tri(len(states), dtype=bool), scores, -np.inf)
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def layer(states: np.ndarray, keys: np.ndarray, queries: np.ndarray, causal: bool = False) -> np.ndarray:
    """phi(X) = X + S X, (n, d). phi(c X) = c phi(X), since S does not see the scale of X."""
    return states + weights(states, keys, queries, causal) @ states


def draw_states(stream: np.random.Generator, tokens: int = TOKENS, width: int = WIDTH) -> np.ndarray:
    """X, (n, d): normal rows of very different lengths, as those of a real model are."""
    lengths = np.exp(ROW_SPREAD * stream.standard_normal((tokens, 1)))
    return stream.standard_normal((tokens, width)) * lengths


def draw_matrix(stream: np.random.Generator, norm: float, width: int = WIDTH, keys: int = KEYS) -> np.ndarray:
    """K or Q, (d, d_Q): normal, scaled to a spectral norm, the D of the theorem."""
    matrix = stream.standard_normal((width, keys))
    return matrix * norm / np.linalg.norm(matrix, 2)
