"""The question of the study in one figure: what queries buy, by how many bottom layers are secured."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from solid_utils.metrics.attack_cost import compact, curves, judged
from solid_utils.report.figures_attacks import BAND, OTHERS, legitimate
from solid_utils.report.plotting import ATTACKS, Plot, Tables, canvas, in_percent, legend_below
from solid_utils.report.wording import percent

HALF = 0.5
KEYS = ["depth", "attack", "recipe", "queries"]


def recovered_by_depth(tables: Tables) -> Plot | None:
    """The most that any attack recovered within so many queries, a line a count of secured bottom layers.

    Reads `attack_points`: means over seeds of each attack and recipe; a mark where the record was raised,
    whose shape says by which attack; the line ends where the last one that was tried ends.
    """
    points = tables["attack_points"]
    points = points[points["prefix"].astype(bool)]
    if not (points["queries"] > 0).any():
        return None
    means = mean_points(points)
    figure, (axes,) = canvas(width=8.0, height=4.6)
    depths = sorted(means["depth"].unique())
    colours = sns.color_palette("viridis", len(depths) + 1)  # the last one is too light to be read
    styles = marks(means["attack"])
    tops = {}
    for depth, colour in zip(depths, colours, strict=False):
        found = records(means[means["depth"] == depth])
        tops[depth] = found
        _line(axes, found, colour, styles)
    _names(axes, tops)
    best = set().union(*(found["attack"] for found in tops.values()))
    for attack in styles:
        if attack in best:
            axes.scatter([], [], marker=styles[attack], color="#555555", label=attack)
    axes.axvspan(*legitimate(), **BAND)
    axes.axhline(HALF, color="black", linestyle=":", linewidth=0.9, zorder=1)
    axes.set(xscale="log", xlabel="oracle queries", ylabel="recovered by the best attack", ylim=(-0.03, 1.03))
    axes.xaxis.set(minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    in_percent(axes.yaxis)
    legend_below(figure, axes, columns=5)
    return figure, sentence(tops)


def mean_points(points: pd.DataFrame) -> pd.DataFrame:
    """Columns KEYS and `recovered`, the mean over seeds, of points after a query; texts as attack_cost.judged says."""
    known = curves(judged(points))
    known = known[known["queries"] > 0].astype({"depth": int})
    return known.groupby(KEYS, as_index=False)["recovered"].mean()


def records(points: pd.DataFrame) -> pd.DataFrame:
    """Points that beat all with fewer queries, in order; the last one again, with the most queries that were tried."""
    ordered = points.sort_values(["queries", "recovered"], ascending=[True, False], kind="stable")
    before = ordered["recovered"].cummax().shift(fill_value=-np.inf)
    found = ordered[ordered["recovered"] > before]
    return pd.concat([found, found.tail(1).assign(queries=ordered["queries"].max())], ignore_index=True)


def marks(attacks: pd.Series) -> dict[str, str]:
    """A marker an attack: the paper's as everywhere, others by their place in the alphabet."""
    others = sorted(set(attacks) - set(ATTACKS))
    known = {attack: marker for attack, (marker, _) in ATTACKS.items() if attack in set(attacks)}
    return known | {attack: OTHERS[place % len(OTHERS)][0] for place, attack in enumerate(others)}


def _line(axes: Axes, found: pd.DataFrame, colour: tuple, styles: dict[str, str]) -> None:
    axes.step(found["queries"], found["recovered"], where="post", color=colour, linewidth=1.8, zorder=2)
    for row in found[:-1].itertuples():
        axes.scatter(row.queries, row.recovered, 42, marker=styles[row.attack], color=colour, zorder=3)


APART = 0.045  # of the axis, between two names


def _names(axes: Axes, tops: dict[int, pd.DataFrame]) -> None:
    """Each line's count of layers at its right end, moved apart where two would lie on each other."""
    ends = sorted(((found.iloc[-1], depth) for depth, found in tops.items()), key=lambda pair: pair[0]["recovered"])
    last = -1.0
    for end, depth in ends:
        height = max(end["recovered"], last + APART)
        last = height
        text = f"{depth} layer{'s' if depth > 1 else ''}"
        axes.annotate(text, (end["queries"], height), (6, -3), textcoords="offset points", fontsize=9)


def sentence(tops: dict[int, pd.DataFrame]) -> str:
    """The least and the most secured layers, and what their best attack recovered."""
    told = []
    for depth in dict.fromkeys([min(tops), max(tops)]):
        best = tops[depth].iloc[-2]
        layers = f"{depth} secured bottom layer{'s' if depth > 1 else ''}"
        told.append(f"{percent(best['recovered'])} behind {layers} ({best['attack']}, {best['queries']:,.0f} queries)")
    return (
        f"The best attack in hindsight recovered {' and '.join(told)} of what was missing on texts that no attack "
        "asked for. A line is the record within so many queries, a mark where it was raised; green: a legitimate epoch "
        "(paper, Table 8). Where a line ends nothing more was tried."
    )
