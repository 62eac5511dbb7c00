"""Measured numbers as the report words them, each with its interval where there is one."""

import math

import pandas as pd

from solid_utils.metrics.intervals import Interval


def percent(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{100 * value:.1f} %"


def between(row: pd.Series, name: str) -> str:
    """A value in percent with its interval, where there is one: "49.6 % [45.1, 54.2]"."""
    low, high = (100 * float(row[f"{name}_{end}"]) for end in ("low", "high"))
    return percent(row[name]) + ("" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]")


def points(row: pd.Series, name: str, stderr: str) -> str:
    """A difference in percentage points with its paired interval, else with its standard error."""
    value, low, high = (100 * float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    spread = f"± {100 * row[stderr]:.1f}" if math.isnan(low) else f"[{low:+.1f}, {high:+.1f}]"
    return f"{value:+.1f} {spread}"


def told(run: pd.Series) -> str:
    """An attack run in a few words and numbers."""
    place = run["secured"] if run["deployment"] == run["secured"] else f"{run['deployment']} ({run['secured']})"
    return (
        f"{run['attack']} on {place}, {run['steps']:.0f} steps: agreement {percent(run['agreement_start'])} -> "
        f"{percent(run['agreement'])}, {between(run, 'recovered_share')} recovered, chance-corrected ratio "
        f"{between(run, 'chance_corrected_ratio')}"
    )


def correlated(correlation: Interval) -> str:
    """A correlation with its interval, where there is one: "-0.80 [-0.95, -0.35]"."""
    if math.isnan(correlation.estimate):
        return "undefined"
    return f"{correlation.estimate:.2f}" + (
        "" if math.isnan(correlation.low) else f" [{correlation.low:.2f}, {correlation.high:.2f}]"
    )


def interval_note(rows: pd.DataFrame, what: str = "In brackets:") -> str:
    """A sentence on what the intervals of a table's rows allow for, with a space before; empty where there are none."""
    covered = [text for text in rows["interval_covers"].dropna().unique() if text]
    if not covered:
        return ""
    warning = "; another seed may well fall outside" if "items only" in covered else ""
    return f" {what} 95 % intervals, {' or '.join(covered)}{warning}."
