"""What a number of items can show: the smallest difference that would be found, and what choosing by a score adds.

Not in the paper, whose customization benchmarks are compared without errors.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.05  # two-sided
POWER = 0.8
# Of items that two models answer differently, six on one side are the fewest at which a two-sided sign test passes
# LEVEL (2 / 2^6 = 0.03), and eight must be expected for six to come in POWER of the cases.
FEWEST = float(stats.gamma.ppf(POWER, 6))  # P(Poisson(FEWEST) >= 6) = POWER


def detectable(n: ArrayLike, differing: ArrayLike) -> np.ndarray:
    """Smallest difference of two accuracies on the same n items that a test at LEVEL finds in POWER of the cases.

    `differing`: share of items that one of the two gets right and the other wrong, as measured. By Connor's formula for
    McNemar's test (1987), but never below FEWEST / n. nan where even a difference of 1 is too small to be found, or
    `differing` is unknown. Shares, not points; of the shape that n and `differing` have together.
    """
    n, differing = np.broadcast_arrays(np.asarray(n, float), np.asarray(differing, float))
    a, b = stats.norm.ppf(1 - LEVEL / 2), stats.norm.ppf(POWER)
    # The root of sqrt(n) d = a sqrt(p) + b sqrt(p - d^2), p the share that differs.
    under = np.maximum(n - a**2 + b**2, 0.0)
    root = np.sqrt(differing) * (a * np.sqrt(n) + b * np.sqrt(under)) / (n + b**2)
    with np.errstate(divide="ignore"):
        least = np.maximum(root, FEWEST / n)
    return np.where(least <= 1, least, np.nan)


def lift(value: ArrayLike, stderr: ArrayLike, floor: ArrayLike) -> np.ndarray:
    """By how much a score that counts only beyond floor + 2 stderr is too high on average: the winner's curse.

    The benchmarks that count are chosen on the items that they are scored on, so luck helps to choose them. This is the
    mean of a normal beyond the bar, less its own mean, with the true score taken to be the measured one; near the bar
    it is largest, 0.8 stderr. nan without a standard error.
    """
    value, stderr, floor = (np.asarray(part, float) for part in (value, stderr, floor))
    with np.errstate(divide="ignore", invalid="ignore"):
        bar = (floor + 2 * stderr - value) / stderr  # in standard errors above the true score
    added = stderr * np.exp(stats.norm.logpdf(bar) - stats.norm.logsf(bar))
    return np.where(stderr == 0, 0.0, added)
