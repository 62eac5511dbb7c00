"""The chart beside a card: what securing more layers leaves to the thief."""

import itertools
from pathlib import Path

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from solid_utils.core import files
from solid_utils.recommend.outcome import Attack, Estimate, Outcome, Prefix
from solid_utils.report.plotting import BLUE, GREY, ORANGE, POINTS, STYLE, canvas, in_percent, legend_below

DPI = 150


def draw(outcome: Outcome) -> Figure:
    """Agreement with the victim by share of the model that is secured: before a query, after, and what is free."""
    found = outcome.attack
    shares = [one.share for one in found.prefixes]
    figure, (axes,) = canvas(7.5, 4.4)
    figure.suptitle("What a thief has, by how much is secured", fontsize=11, fontweight="bold")
    after = [one for one in found.prefixes if one.agreement]
    asked = f"linear map, {found.queries} texts asked"
    line(axes, [one.share for one in after], [one.agreement for one in after], color=ORANGE, label=asked)
    line(axes, shares, [one.zero_query for one in found.prefixes], color=BLUE, label="before any query (random layers)")
    levels(axes, found)
    recommended = outcome.recommended
    axes.axvline(recommended.share, color=GREY, linewidth=6, alpha=0.3, zorder=0, label="recommended set")
    axes.set_xscale("log")
    axes.set_xticks(shares, ticks(found.prefixes), fontsize=8.5)
    axes.minorticks_off()
    axes.set(ylim=(-0.02, 1.02), xlabel="share of the model secured", ylabel="next-token agreement with the victim")
    in_percent(axes.yaxis)
    axes.grid(axis="x", visible=False)
    legend_below(figure, axes, columns=2)
    sns.despine(ax=axes)
    return figure


def line(axes: Axes, shares: list[float], values: list[Estimate], color, label: str) -> None:
    """Estimates with their intervals; no bar where there is none."""
    below = [one.value - one.low if one.low is not None else 0 for one in values]
    above = [one.high - one.value if one.high is not None else 0 for one in values]
    bars = [[max(0, size) for size in side] for side in (below, above)]
    axes.errorbar(shares, [one.value for one in values], yerr=bars, color=color, label=label, **POINTS)


def levels(axes: Axes, found: Attack) -> None:
    """The floor, and the agreements at which a set holds or is broken."""
    floor = found.floor.value
    axes.axhline(floor, color="black", linewidth=1, label=f"public text, no query ({found.floor_by}s)")
    for part, words in ((found.hold_below, "holds below"), (found.broken_above, "broken above")):
        level = floor + part * (1 - floor)
        axes.axhline(level, color="black", linewidth=0.9, linestyle=":", zorder=1)
        axes.annotate(words, (0.2, level), xycoords=("axes fraction", "data"), fontsize=7.5, ha="center", va="bottom")


def ticks(prefixes: list[Prefix]) -> list[str]:
    """A set and its share, every second one lower where two lie close together."""
    shares = [one.share for one in prefixes]
    close = any(next_one < 1.4 * one for one, next_one in itertools.pairwise(shares))
    lower = ["\n\n" * (close and number % 2) for number in range(len(shares))]
    return [f"{space}{one.secured}\n{one.share:.1%}" for space, one in zip(lower, prefixes, strict=True)]


def write(outcome: Outcome, path: Path) -> None:
    """A PNG, the same bytes each time, see files.whole."""
    looks = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85) | STYLE
    with matplotlib.rc_context(looks), files.whole(path) as partial:
        # Without it matplotlib writes its version into the file.
        draw(outcome).savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
