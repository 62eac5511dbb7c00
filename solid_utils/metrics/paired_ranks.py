"""How well scores rank the same things by an outcome, and which ranks them better: paired, with several blocks.

A block is one model's secured sets. Its sets are drawn with replacement, the same ones for every score, so that what a
score gains on another is not blurred by what both share; several blocks count alike, whatever their size. (Not in the
paper, which compares no two scores.)
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from solid_utils.metrics.intervals import LEVEL, SEED, TIMES


def drawn(count: int, stream: np.random.Generator) -> np.ndarray:
    """(1 + TIMES, count) places: all of them once, then as many drawn with replacement."""
    return np.vstack([np.arange(count), stream.integers(count, size=(TIMES, count))])


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of (resamples, sets) arrays; 0 where one of them does not vary."""
    ranks = [rankdata(side, axis=1) for side in (x, y)]
    left, right = (side - side.mean(1, keepdims=True) for side in ranks)
    size = np.sqrt((left**2).sum(1) * (right**2).sum(1))
    products = (left * right).sum(1)
    return np.divide(products, size, out=np.zeros_like(products), where=size > 0)


def strengths(blocks: list[pd.DataFrame], scores: list[str], outcome: str) -> pd.DataFrame:
    """|Spearman's correlation| of each score with the outcome, mean over blocks: (1 + TIMES, scores). See signed."""
    return strength(signed(blocks, scores, outcome))


def strength(by_block: list[pd.DataFrame]) -> pd.DataFrame:
    """Mean over blocks of the absolute values of `signed`."""
    return sum(one.abs() for one in by_block) / len(by_block)


def signed(blocks: list[pd.DataFrame], scores: list[str], outcome: str) -> list[pd.DataFrame]:
    """Spearman's correlation of each score with the outcome, one frame (1 + TIMES, scores) a block.

    `blocks`: a row a thing, scores and outcome as columns. Row 0 is the estimate, the others are resamples; the order
    of a block's rows changes nothing.
    """
    stream = np.random.default_rng(SEED)
    found = []
    for block in blocks:
        block = block.sort_values([outcome, *scores], kind="stable")  # draws go by place
        places = drawn(len(block), stream)
        ends = block[outcome].to_numpy(float)[places]
        ranked = [spearman(block[name].to_numpy(float)[places], ends) for name in scores]
        found.append(pd.DataFrame(np.stack(ranked, axis=1), columns=scores))
    return found


def interval(values: np.ndarray) -> tuple[float, float]:
    """The ends of the middle LEVEL of the resamples, values[1:]."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def turned(values: np.ndarray, threshold: float = 0.0) -> float:
    """p, two-sided: twice the share of resamples on the other side of the threshold than the estimate, values[0], one
    added to both counts; twice, because the estimate chooses its side."""
    other = values[1:] <= threshold if values[0] > threshold else values[1:] >= threshold
    return min(1.0, float(2 * (1 + other.sum()) / (1 + len(other))))


def holm(p: pd.Series) -> pd.Series:
    """Holm's p over all that are known; nan elsewhere (Holm 1979)."""
    ordered = p.dropna().astype(float).sort_values(kind="stable")
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).cummax().clip(upper=1).reindex(p.index)
