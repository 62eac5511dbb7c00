"""H4: does theft of the first layer stay cheap as models grow? Tokens to half against width, by the linear map."""

import numpy as np
import pandas as pd

from solid_utils.metrics.intervals import SEED
from solid_utils.metrics.paired_ranks import interval, turned
from solid_utils.report import outcome, scale
from solid_utils.report.scale import Scale
from solid_utils.settings.params import Hypothesis

ATTACK = ["stitch", "map"]  # the one attack with a curve on every model
HALF = 0.5
WIDTHS = 4  # fewer decide nothing


def h4(asked: Hypothesis, found: Scale, points: pd.DataFrame) -> list[dict]:
    """Slope of log tokens to half of what stands above C4's floor, against log width; none below two widths.

    A model that never comes to half has no place on the line: it is left out, and named. One that is there with the
    fewest queries that were tried may have needed one text only: the interval spans both, and it is named too.
    """
    curves = scale.single(points[(points[["attack", "recipe"]] == ATTACK).all(axis=1)])
    curves = curves[curves["lowest"] == 0]
    widths, tokens, least, left_out, at_most, used = [], [], [], [], [], []
    for model, mine in curves.groupby("model", sort=False):
        mine = mine.sort_values("queries")
        needed = tokens_to_half(found, mine)
        if np.isnan(needed[0]):
            left_out.append(model)
            continue
        cells = found.cells[(found.cells["model"] == model) & (found.cells["attack"] == ATTACK[0])]
        widths.append(np.log(float(cells["numbers"].iloc[0])))
        # A resample that never comes to half takes at least all that was asked.
        tokens.append(np.nan_to_num(needed, nan=np.log(mine["tokens"].max())))
        first = mine.iloc[0]
        begun = tokens[-1] <= np.log(float(first["tokens"]))
        least.append(np.where(begun, np.log(float(first["tokens"]) / float(first["queries"])), tokens[-1]))
        if begun[0]:
            at_most.append(model)
        used.append(mine)
    if len(widths) < 2:
        return []
    what = f"linear map, {len(widths)} widths" + f" (never half: {', '.join(left_out)})" * bool(left_out)
    what += f" (at most: {', '.join(at_most)})" * bool(at_most)
    limit = asked.threshold["supported_below"]
    found_slopes, other_slopes = (slopes(np.array(widths), np.array(values)) for values in (tokens, least))
    one = outcome.row("H4", asked, scale.ALL, what, len(widths), found_slopes, limit, pd.concat(used))
    low, high = interval(other_slopes)
    one["outcome_low"], one["outcome_high"] = min(one["outcome_low"], low), max(one["outcome_high"], high)
    # Both readings are held against the side on which the first one lies: the other may lie across the threshold.
    one["p"] = max(one["p"], turned(np.append(found_slopes[:1], other_slopes[1:]), limit))
    enough = len(widths) >= WIDTHS
    supported = enough and one["outcome_high"] <= limit
    return [one | {"verdict": outcome.verdict(supported, enough and one["outcome_low"] > limit)}]


def tokens_to_half(found: Scale, points: pd.DataFrame) -> np.ndarray:
    """(1 + TIMES,) log tokens at which a curve first stands halfway above the floor, texts and draws resampled; nan
    where it never does. At or before its first point it is that point's."""
    stream = np.random.default_rng(SEED)
    texts = None
    shares = []
    for _, point in points.iterrows():
        values, texts = outcome.above_floor(found, point, stream, texts)
        shares.append(values)
    return crossing(np.log(points["tokens"].to_numpy(float)), np.array(shares), HALF)


def crossing(x: np.ndarray, y: np.ndarray, level: float) -> np.ndarray:
    """Where curves y (points, curves) over x (points) first reach `level`, by straight lines between points."""
    reached = y >= level
    place = reached.argmax(0)
    columns = np.arange(y.shape[1])
    before = np.maximum(place - 1, 0)
    low = y[before, columns]
    high = y[place, columns]
    rise = np.where(high > low, high - low, 1.0)
    found = x[before] + (level - low) / rise * (x[place] - x[before])
    found = np.where(place == 0, x[0], found)
    return np.where(reached.any(0), found, np.nan)


def slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares over models: x (models,), y (models, resamples) -> (resamples,)."""
    centred = x - x.mean()
    return centred @ (y - y.mean(0)) / (centred @ centred)
