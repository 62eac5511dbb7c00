"""A straight line through values censored on either side: Tobit regression by maximum likelihood (Tobin 1958).

y = intercept + slope x + N(0, sigma^2); of a censored point only a bound of y is known, a lower one (right-censored) or
an upper one (left-censored): its likelihood is the probability of the interval beyond the bound. The likelihood has one
maximum (Olsen 1978), so the start of the search does not matter. Points count as independent.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

CONFIDENCE = 0.95
EXACT = 1e-9  # residuals below this share of y's size are rounding


class Estimate(NamedTuple):
    """A value and its 95 % interval; nan where undefined."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Line:
    """A fitted line; `note` says in one line why something is nan, and is empty otherwise."""

    intercept: Estimate = Estimate()
    slope: Estimate = Estimate()
    sigma: Estimate = Estimate()
    note: str = ""


@dataclass(frozen=True)
class Points:
    """Points (n,); `side` is 1 where y is only a lower bound, -1 where it is only an upper one, else 0."""

    x: np.ndarray
    y: np.ndarray
    side: np.ndarray

    def loss(self, line: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log-likelihood of (intercept, slope, log sigma), and its gradient (3,)."""
        sigma = math.exp(line[2])
        z = (self.y - line[0] - line[1] * self.x) / sigma
        density = -(z**2 + math.log(2 * math.pi)) / 2
        tail, bound = special.log_ndtr(-self.side * z), self.side != 0
        pull = np.where(bound, self.side * np.exp(density - tail), z)  # minus d log-likelihood / dz
        scale = np.where(bound, pull * z, z**2 - 1)
        value = np.where(bound, tail, density - line[2]).sum()
        return -value, -np.array([pull.sum() / sigma, (pull * self.x).sum() / sigma, scale.sum()])

    def best(self, start: np.ndarray, fixed: int | None = None) -> tuple[np.ndarray, float]:
        """The line of lowest loss and that loss, with parameter number `fixed` held at its start."""
        free = [place for place in range(3) if place != fixed]

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            line = start.copy()
            line[free] = values
            value, gradient = self.loss(line)
            return value, gradient[free]

        found = optimize.minimize(loss, start[free], jac=True, method="BFGS", options={"gtol": 1e-8})
        line = start.copy()
        line[free] = found.x
        return line, found.fun


def fit(x: ArrayLike, y: ArrayLike, censored: ArrayLike, at_most: ArrayLike | None = None) -> Line:
    """The maximum-likelihood line through points (n,), with profile-likelihood intervals. Deterministic.

    `censored` marks points of which y is a lower bound, `at_most` those of which it is an upper one; no point is both.

    Where nothing is censored, slope and intercept are those of least squares and their intervals Student's t: the
    likelihood ratio's cut-off is chosen so, with the uncensored points as n. sigma divides by n, not by n - 2.
    What cannot be had is nan, and `note` says why:
    - no line: the uncensored points lie at fewer than two places of x (all are censored; no variation in x);
    - no intervals: fewer than three points are uncensored, or they lie on a line that no bound contradicts (no
      scatter, such as values that are all equal).
    """
    side = np.asarray(censored, bool).astype(int) - (0 if at_most is None else np.asarray(at_most, bool).astype(int))
    points = Points(np.asarray(x, float), np.asarray(y, float), side)
    seen, count = side == 0, int((side == 0).sum())
    if (places := len(np.unique(points.x[seen]))) < 2:
        return Line(note=f"no line: {count} of {len(seen)} points uncensored, at {places} place(s) of x")
    slope, intercept = np.polyfit(points.x[seen], points.y[seen], 1)
    above = points.y - intercept - slope * points.x
    if (np.where(seen, np.abs(above), side * above) <= EXACT * np.abs(points.y).max()).all():
        return Line(Estimate(intercept), Estimate(slope), Estimate(0.0), "no intervals: no scatter about the line")
    start = np.array([intercept, slope, math.log(np.sqrt(np.mean(above**2)))])  # log sigma needs no bound above 0
    best, loss = points.best(start)
    if count < 3:
        known = (Estimate(best[0]), Estimate(best[1]), Estimate(math.exp(best[2])))
        return Line(*known, f"no intervals: {count} of {len(seen)} points uncensored")
    cut = count * math.log1p(stats.t.ppf((1 + CONFIDENCE) / 2, count - 2) ** 2 / (count - 2))
    found = [_interval(points, best, loss, place, cut) for place in range(3)]
    return Line(Estimate(*found[0]), Estimate(*found[1]), Estimate(*np.exp(found[2]).tolist()))


def _interval(points: Points, best: np.ndarray, loss: float, place: int, cut: float) -> list[float]:
    """A parameter and the two values at which twice the loss, over the other parameters, is `cut` above its minimum."""

    def excess(value: float) -> float:
        start = best.copy()
        start[place] = value
        return 2 * (points.best(start, place)[1] - loss) - cut

    sigma = math.exp(best[2])
    unit = (sigma, sigma / np.abs(points.x).max(), 1.0)[place] / math.sqrt(len(points.x))
    ends = []
    for direction in (-1, 1):
        step = direction * unit
        while excess(best[place] + step) < 0:
            step *= 2
        ends.append(optimize.brentq(excess, best[place], best[place] + step, xtol=1e-6 * unit))
    return [float(best[place]), *ends]
