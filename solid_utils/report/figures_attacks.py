"""Figures of what theft costs: recovered share against queries, and the cost of a level against depth."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from solid_utils.metrics.attack_cost import (
    LEVELS,
    ORDER,
    by_number,
    cap_sentence,
    compact,
    cost_table,
    costs,
    curves,
    judged,
    legitimate_queries,
)
from solid_utils.metrics.attack_trends import depth_fits, prefixes
from solid_utils.report.plotting import ATTACKS, PALETTE, Plot, Tables, canvas, in_percent

COLUMNS = 4  # panels in a row
OTHERS = [(marker, PALETTE[place]) for marker, place in (("D", 4), ("v", 3), ("P", 5), ("X", 9), ("*", 8), ("h", 6))]
Style = dict[str, tuple]  # attack -> marker, colour
AXIS = {"queries": "oracle queries", "tokens": "oracle tokens", "flops": "training FLOPs"}
LEGITIMATE = "one legitimate epoch (paper, Table 8)"
FIT = "censored fit, best attacker"
NOT_ATTACKS = (FIT, LEGITIMATE)
BAND = {"color": PALETTE[2], "alpha": 0.2, "linewidth": 0, "zorder": 0, "label": LEGITIMATE}


def recovered_by_queries(tables: Tables) -> Plot | None:
    """Recovered share against queries, a panel a deployment, a line an attack and recipe (mean and range of seeds).

    Reads `attack_points` (attack_cost.POINTS). At the left edge no query was made; the green band is what a legitimate
    customization makes in one epoch (paper Table 8).
    """
    if not (tables["attack_points"]["queries"] > 0).any():
        return None
    points = curves(judged(tables["attack_points"])).sort_values([*ORDER, "attack"], key=by_number, kind="stable")
    sets = list(points.groupby(ORDER, sort=False))
    figure, panels = _panels(len(sets), width=2.6, height=2.4)
    styles = _styles(points["attack"])
    for axes, ((_, _, deployment, secured), mine) in zip(panels, sets, strict=True):
        for (attack, _), curve in mine.groupby(["attack", "recipe"], sort=False):
            _curve(axes, curve, attack, styles)
        axes.axvspan(*legitimate(), **BAND)
        place = deployment if deployment == secured else f"{deployment} ({secured})"
        for level in LEVELS:
            axes.axhline(level, color="black", linestyle=":", linewidth=0.9, zorder=1)
        axes.set_title(f"{place}\nagreement at the start {whole_percent(mine['start_agreement'].max())}", fontsize=9)
    panels[0].set(ylim=(-0.03, 1.03), yticks=[0, *LEVELS, 1])
    in_percent(panels[0].yaxis)
    _from_zero(panels[0], points["queries"])
    _label(panels, "oracle queries", "recovered share")
    _legend(figure, panels)
    return figure, _recovered_sentence(points)


def cost_by_depth(tables: Tables, measure: str = "queries") -> Plot | None:
    """Cost of each level against secured layers from the bottom, a panel a level; one mark an attack and seed.

    Reads `attack_points`. Hollow, arrow up: not reached with that much; arrow down: the least that was tried reached
    it. The line is the censored fit of the best attacker (attack_trends.depth_fits); the green band, for queries, a
    legitimate customization (paper Table 8).
    """
    spent = prefixes(costs(judged(tables["attack_points"])))
    if (spent := spent[spent[measure] > 0]).empty:
        return None
    fits = depth_fits(spent, [measure]).set_index(["level", "measure"])
    levels = sorted(spent["level"].unique())
    figure, panels = _panels(len(levels), width=3.0, height=3.4)
    styles = _styles(spent["attack"])
    for axes, level in zip(panels, levels, strict=True):
        for attack, mine in spent[spent["level"] == level].groupby("attack"):
            _marks(axes, mine, measure, attack, styles)
        _line(axes, fits.loc[(level, measure)], spent["depth"])
        if measure == "queries":
            axes.axhspan(*legitimate(), **BAND)
        axes.set_title(f"{whole_percent(level)} recovered", fontsize=10)
    panels[0].set(xscale="log", yscale="log", ylim=_height(spent[measure], measure))
    panels[0].xaxis.set(major_locator=FixedLocator(sorted(spent["depth"].unique())), minor_locator=NullLocator())
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    _label(panels, "secured decoder layers", AXIS[measure])
    _legend(figure, panels)
    return figure, _depth_sentence(spent, fits, measure)


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """An empty figure of one or more rows of panels that share both axes, which `canvas` does not offer."""
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    figure, (whole,) = canvas(1 + width * columns, 1 + height * rows)
    whole.remove()
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for above, empty in zip(axes[count - columns :], axes[count:], strict=False):
        above.tick_params(labelbottom=True)
        empty.remove()
    return figure, axes[:count]


def _label(panels: list[Axes], x: str, y: str) -> None:
    """Labels on the outer panels: those on the left, and those with nothing below them."""
    for axes in panels:
        place = axes.get_subplotspec()
        axes.set_ylabel(y if place.is_first_col() else "", fontsize=9.5)
        axes.set_xlabel(x if axes in panels[-place.get_gridspec().ncols :] else "", fontsize=9.5)


def whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _styles(attacks: Iterable[str]) -> Style:
    """The paper's three attacks look as everywhere, the others by their place in the alphabet."""
    others = sorted(set(attacks) - set(ATTACKS))
    return ATTACKS | {attack: OTHERS[place % len(OTHERS)] for place, attack in enumerate(others)}


def _curve(axes: Axes, curve: pd.DataFrame, attack: str, styles: Style) -> None:
    """Mean and range of the seeds at each budget, from the start on; thin where only one budget was run."""
    marker, colour = styles[attack]
    by_steps = curve.groupby("steps")
    x = by_steps["queries"].mean()
    share = by_steps["recovered"]
    x, mean, low, high = ([0, *values] for values in (x, share.mean(), share.min(), share.max()))
    width = 1.5 if len(x) > 2 else 0.6  # one budget is a point, no curve
    axes.plot(x, mean, marker=marker, color=colour, label=attack, markersize=4.5, linewidth=width, zorder=3)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0, zorder=2)


def legitimate() -> tuple[int, int]:
    return legitimate_queries().min(), legitimate_queries().max()


def _from_zero(axes: Axes, queries: pd.Series) -> None:
    """A logarithmic axis whose left edge is 0: linear below half the smallest budget, where nothing was run."""
    least = queries[queries > 0].min() / 2
    axes.set_xscale("symlog", linthresh=least, linscale=0.3)
    axes.set_xlim(0, 1.3 * max(queries.max(), legitimate()[1]))
    decades = 10.0 ** np.arange(math.ceil(math.log10(least)), 9)
    axes.xaxis.set(major_locator=FixedLocator([0, *decades]), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def _marks(axes: Axes, mine: pd.DataFrame, measure: str, attack: str, styles: Style) -> None:
    """Filled where the level was reached, above an arrow where with the least; hollow, below one, where it was not.

    Attacks and seeds side by side.
    """
    marker, colour = styles[attack]
    shift = list(styles).index(attack) - (len(styles) - 1) / 2
    seeds = mine.groupby("seed").ngroup()
    x = mine["depth"] * np.exp(shift * 0.35 / len(styles) + 0.03 * (seeds - seeds.mean()))
    axes.scatter([], [], marker=marker, color=colour, label=attack)
    for censored, face in ((False, colour), (True, "white")):
        here = mine["censored"] == censored
        axes.scatter(x[here], mine.loc[here, measure], 28, marker=marker, facecolor=face, edgecolor=colour, zorder=3)
    for side, reach in (("censored", 20), ("at_most", -20)):
        bounds = mine.assign(x=x)[mine[side]].groupby(["depth", measure], as_index=False)["x"].mean()
        for place in bounds.itertuples():
            arrow = {"textcoords": "offset points", "arrowprops": {"arrowstyle": "<-", "color": colour}}
            axes.annotate("", (place.x, getattr(place, measure)), (0, reach), **arrow)


def _height(cost: pd.Series, measure: str) -> tuple[float, float]:
    """Limits of the axis: all marks, their arrows and the band, but not all of the fit, which runs far above them."""
    top = max(cost.max(), legitimate()[1] if measure == "queries" else 0)
    return cost.min() / 2, 6 * top


def _line(axes: Axes, line: pd.Series, depths: pd.Series) -> None:
    if not math.isnan(line["slope"]):
        x = np.geomspace(depths.min(), depths.max(), 100)
        y = 10 ** (line["intercept"] + line["slope"] * x)
        axes.plot(x, y, color="black", linestyle="--", linewidth=1.2, label=FIT, zorder=2)


def _legend(figure: Figure, panels: list[Axes]) -> None:
    """Every label once, whichever panels have it: attacks by name, then the rest."""
    pairs = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    entries = {label: handle for handle, label in sorted(pairs, key=lambda pair: (pair[1] in NOT_ATTACKS, pair[1]))}
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)


def _recovered_sentence(points: pd.DataFrame) -> str:
    """The least that half of a deployment cost, and what that means beside a legitimate customization."""
    table = cost_table(costs(points, LEVELS[:1])).query("measure == 'queries'")
    reached = table[~table["censored"]].sort_values("cost", kind="stable")
    lead = f"Half of what was missing was recovered from {len(reached)} of {len(table)} deployments"
    if reached.empty:
        return f"{lead}. {cap_sentence(table['cost'].max(), True)}"
    first = reached.iloc[0]
    return (
        f"{lead}, for the least from {first['deployment']} by {first['attack']}. {cap_sentence(first['cost'], False)}"
    )


def _depth_sentence(spent: pd.DataFrame, fits: pd.DataFrame, measure: str) -> str:
    """How often no attack reached the lowest level, and what each further layer costs."""
    level = min(spent["level"])
    line = fits.loc[(level, measure)]
    short = f"At {line['censored']} of {line['points']} depths and seeds no attack reached {whole_percent(level)}"
    if math.isnan(line["slope_low"]):
        return f"{short}; {line['note']}."
    factor, low, high = (10 ** line[name] for name in ("slope", "slope_low", "slope_high"))
    return (
        f"{short}; by the censored fit each further layer multiplies the {AXIS[measure]} by {factor:.2f} "
        f"(95 %: {low:.2f} to {high:.2f})."
    )
