"""Formulas that more than one room needs, each in one place."""

import math

import numpy as np
import pandas as pd

Metric = float | pd.Series  # one number, or (resamples,)
ZERO = 1e-9  # sums of scores carry rounding noise; a denominator below this is zero


def ratio(numerator: Metric, denominator: Metric) -> Metric:
    """numerator / denominator; nan where the denominator is zero or below, never infinity."""
    if isinstance(denominator, pd.Series):
        return numerator / denominator.where(denominator > ZERO)
    return float(numerator / denominator) if denominator > ZERO else math.nan


def recovered_share(agreement: Metric, start: Metric) -> Metric:
    """(a - a0) / (1 - a0): share of the missing agreement with the victim that an attack recovered (not in the paper).

    `agreement` and `start` are fractions, after the attack and before any query. Negative when the attack lost ground;
    nan when the start already agrees everywhere.
    """
    return ratio(agreement - start, 1 - start)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of (values,); nan for a single value, whose spread is unknown."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.nan
