"""Formulas that more than one room needs."""

import math

import numpy as np
import pytest
import scipy.stats

from solid_utils.core import numbers


def test_the_standard_error_is_scipys():
    values = np.random.default_rng(0).random(30)
    assert numbers.standard_error(values) == pytest.approx(scipy.stats.sem(values), rel=1e-12)


def test_of_a_single_value_the_standard_error_is_unknown():
    assert math.isnan(numbers.standard_error(np.array([0.5])))
