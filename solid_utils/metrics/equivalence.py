"""Is one accuracy as good as another, within a margin? Two one-sided tests by paired bootstrap (not in the paper).

Schuirmann (1987): equal within the margin where both "lower by the margin or more" and "higher by the margin or more"
are refuted, each at LEVEL; so where the interval of 1 - 2 LEVEL lies within the margin. A difference that is not
significant says nothing: with few items it never is.

What happens at the edges:
- nothing varies over the resamples (no item differs): the interval has no width, which is the bootstrap's limit and no
  certainty. Its ends are then 3 / n away, the usual bound for none of n.
- an undefined value (nan) among the resamples: everything is nan, and nothing is decided.
"""

import math
from dataclasses import dataclass

import numpy as np

from solid_utils.core.errors import StudyError

LEVEL = 0.05  # of each one-sided test
NONE_OF = 3.0  # 95 % bound on a share, by n, where none of n was seen
EQUIVALENT, WORSE, BETTER, OPEN = "equivalent", "worse", "better", "not decided"


@dataclass(frozen=True)
class Equivalence:
    """A difference and what is decided of it.

    low, high: the interval of 1 - 2 LEVEL. reach: half of its width, which must be below the margin for anything to be
    found equivalent. p: the larger one of the two tests. verdict: one of the four words above.
    """

    difference: float
    low: float
    high: float
    reach: float
    p: float
    verdict: str


def two_one_sided(differences: np.ndarray, margin: float, n: int) -> Equivalence:
    """Decide on a difference from its resamples.

    differences: (1 + times,), the estimate first, negative is worse. margin, above 0, in the same unit. n: items behind
    it. "worse" (or "better") is said where the whole interval lies beyond the margin. Raises StudyError for another
    margin, and without resamples.
    """
    if not margin > 0 or len(differences) < 2:
        raise StudyError(
            f"equivalence: margin {margin}, {len(differences) - 1} resamples; give a margin above 0, and some"
        )
    estimate, drawn = float(differences[0]), np.asarray(differences[1:], float)
    if not np.isfinite(differences).all():
        return Equivalence(estimate, math.nan, math.nan, math.nan, math.nan, OPEN)
    low, high = (float(end) for end in np.quantile(drawn, [LEVEL, 1 - LEVEL]))
    p = max(float((drawn <= -margin).mean()), float((drawn >= margin).mean()))
    if np.ptp(drawn) == 0:
        low, high = estimate - NONE_OF / n, estimate + NONE_OF / n
        p = math.nan
    return Equivalence(estimate, low, high, (high - low) / 2, p, verdict(low, high, margin))


def verdict(low: float, high: float, margin: float) -> str:
    """What an interval of the difference says of a margin."""
    if -margin < low and high < margin:
        return EQUIVALENT
    if high <= -margin:
        return WORSE
    return BETTER if low >= margin else OPEN


def could_decide(reach: float, margin: float) -> bool:
    """Could an interval of this half-width lie within the margin at all, were the difference 0?"""
    return reach < margin
