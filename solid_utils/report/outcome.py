"""One outcome of a hypothesis: an estimate, its resamples, what they say of a threshold, and Holm's correction."""

import numpy as np
import pandas as pd

from solid_utils.metrics.paired_ranks import drawn, holm, interval, turned
from solid_utils.report import floors, scale
from solid_utils.report.scale import Scale
from solid_utils.settings.params import Hypothesis

TABLE = ["hypothesis", "model", "confirmatory", "what", "n", "outcome", "outcome_low", "outcome_high"]
TABLE += ["threshold", "p", "p_holm", "verdict"]
TOGETHER = ("H1", "H2", "H3", "H4")  # Holm's correction goes over all their outcomes
NOT_RUN = "not run"
FOR, AGAINST, UNDECIDED = "speaks for", "speaks against", "undecided"  # what one victim does; see each `falsified`


def row(
    name: str,
    asked: Hypothesis,
    model: str,
    what: str,
    n: int,
    values: np.ndarray,
    threshold: float,
    cells: pd.DataFrame,
) -> dict:
    """One outcome, without its verdict: values[0] is the estimate, the others are resamples.

    `p` is twice the share of resamples on the other side of the threshold than the estimate, counted as (1 + found) /
    (1 + resamples): two-sided, how often other texts, draws or sets of the same kind would have turned the answer.
    Confirmatory where every model in it was named so and its cells began after the question was written.
    """
    low, high = interval(values)
    new = cells["model"].isin(asked.confirmatory) & cells["asked_before"].astype(bool)
    return {
        "hypothesis": name,
        "model": model,
        "confirmatory": bool(new.all()),
        "what": what,
        "n": n,
        "outcome": values[0],
        "outcome_low": low,
        "outcome_high": high,
        "threshold": threshold,
        "p": turned(values, threshold),
    }


def corrected(rows: pd.DataFrame) -> pd.Series:
    """Holm's p over the outcomes of the hypotheses TOGETHER; nan elsewhere (Holm 1979)."""
    together = rows[rows["hypothesis"].isin(TOGETHER) & rows["p"].notna()]
    return holm(together["p"]).reindex(rows.index)


def verdict(supported: bool, falsified: bool) -> str:
    return FOR if supported else AGAINST if falsified else UNDECIDED


def draws(found: Scale, point: pd.Series) -> pd.DataFrame:
    """The cells of a point, a draw each, by seed."""
    mine = found.cells[(found.cells[scale.POINT] == point[scale.POINT]).all(axis=1)]
    return scale.once(mine).sort_values("seed")


def by_text(found: Scale, point: pd.Series, column: str) -> pd.DataFrame:
    """(seeds, texts) of a column of schema.TEXTS on C4, after the attack, of all draws of a point."""
    rows = found.texts.merge(draws(found, point)[scale.WHERE], on=scale.WHERE)
    rows = rows[(rows["benchmark"] == scale.SETS["c4"]) & (rows["steps"] > 0)]
    return rows.pivot(index="seed", columns="item", values=column).astype(float)


def floor_of(found: Scale, point: pd.Series) -> np.ndarray:
    """(seeds,) C4's floor on the machine of each draw of a point."""
    known = [found.floors[found.floors["machine"] == machine] for machine in draws(found, point)["machine"]]
    return np.array([floors.floor_on(one, point["model"], "full", (scale.SETS["c4"],)) for one in known])


def above_floor(
    found: Scale, point: pd.Series, stream: np.random.Generator, texts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(1 + TIMES,) of what a point recovers above C4's floor (floors.above), texts and seeds drawn from `stream`; and
    the texts, (1 + TIMES, texts), which another point may meet again: what makes one hard does so there too."""
    agreeing = by_text(found, point, "agreeing").to_numpy()
    tokens = by_text(found, point, "tokens").to_numpy()
    texts = drawn(agreeing.shape[1], stream) if texts is None else texts
    seeds = drawn(len(agreeing), stream)
    places = seeds[:, :, None], texts[:, None, :]
    agreement = agreeing[places].sum(2) / tokens[places].sum(2)
    floor = floor_of(found, point)[seeds]
    return ((agreement - floor) / (1 - floor)).mean(1), texts


def said(point: pd.Series) -> str:
    """A point in words."""
    return f"{point['attack']} ({point['recipe']}), {point['queries']} queries"
