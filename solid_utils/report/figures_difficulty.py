"""Figures of distillation difficulty: by depth, place, size and start, and against what attacks recover."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from solid_utils.metrics import intervals
from solid_utils.report.plotting import (
    ATTACKS,
    BLUE,
    GREY,
    INTERVALS,
    ORANGE,
    POINTS,
    Plot,
    Tables,
    attack_runs,
    canvas,
    in_percent,
    legend_below,
)
from solid_utils.report.wording import correlated


def difficulty_prefix(tables: Tables) -> Plot | None:
    """DD against the number of secured layers from the bottom, with ceiling, threshold and l*; a panel a start."""
    rows, search = tables["difficulty"], tables["search"].set_index("start")
    prefixes = rows[rows["kind"] == "prefix"].sort_values("depth")
    if prefixes.empty:
        return None
    starts, top = list(prefixes["start"].unique()), (prefixes["dd"] + prefixes["stderr"]).max()
    figure, panels = canvas(width=max(7.5, 1 + 4.2 * len(starts)), columns=len(starts))
    for axes, start in zip(panels, starts, strict=True):
        curve = prefixes[prefixes["start"] == start]
        _errors(axes, [0, *curve["depth"]], [curve["victim"].iloc[0], *curve["dd"]], [0, *curve["stderr"]], "DD")
        if start in search.index:
            end = search.loc[start]
            axes.axhline(end["ceiling"], color="black", linestyle="--", linewidth=1, label="ceiling: all random")
            level = (1 - end["epsilon"]) * end["ceiling"]
            axes.axhline(level, color=ORANGE, linestyle=":", linewidth=1.8, label="(1 - epsilon) x ceiling")
            star = {"marker": "*", "markersize": 15, "color": ORANGE, "markeredgecolor": "black", "linestyle": "none"}
            axes.plot(end["l_star"], end["dd"], label="l*", zorder=5, **star)
        axes.set(title=f"start: {start}", xlabel="secured layers, from the bottom", ylim=(0, 1.05 * top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("DD, nats")
    legend_below(figure, panels[0])
    stops = [f"{row['l_star']} (start {start})" for start, row in search.iterrows()]
    return figure, (
        f"At 0 layers stands the victim's loss, {prefixes['victim'].iloc[0]:.2f}; the first point on or above the "
        f"dotted line is where SOLID stops: l* = {' and '.join(stops) or 'not searched'}."
    )


def _errors(axes: Axes, x, y, error, label: str) -> None:
    axes.errorbar(x, y, yerr=error, color=BLUE, label=label, **POINTS)


def difficulty_single(tables: Tables) -> Plot | None:
    """DD of each decoder layer alone; one start, that of the scan."""
    rows = tables["difficulty"]
    singles = rows[rows["kind"].isin(["single", "window"])]  # windows where SOLID secures more than one layer
    if singles.empty:
        return None
    singles = singles[singles["start"] == singles["start"].iloc[0]]
    singles = singles.assign(layer=singles["lowest"].astype(int)).sort_values("layer")
    figure, (axes,) = canvas(height=3.6)
    _errors(axes, singles["layer"], singles["dd"], singles["stderr"], f"DD, start {singles['start'].iloc[0]}")
    axes.axhline(singles["victim"].iloc[0], color="black", linestyle="--", linewidth=1, label="victim")
    axes.set(xlabel="secured decoder layer (the lowest of a window)", ylabel="DD, nats", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    high, low = singles.loc[singles["dd"].idxmax()], singles.loc[singles["dd"].idxmin()]
    return figure, (
        f"One layer is not like another: layer {high['layer']} alone takes the loss to {high['dd']:.2f}, layer "
        f"{low['layer']} to {low['dd']:.2f}, from the victim's {high['victim']:.2f}."
    )


def difficulty_choices(tables: Tables) -> Plot | None:
    """DD by share of the parameters that is secured, from the bottom, and of SOLID's set by the attacker's start."""
    rows = tables["difficulty"]
    sizes, begun = rows[rows["kind"] == "size"].sort_values("share"), rows[rows["kind"] == "start"].sort_values("dd")
    if sizes.empty or begun.empty:
        return None
    figure, (left, right) = canvas(width=9.5, height=3.8, columns=2)
    _errors(left, sizes["share"], sizes["dd"], sizes["stderr"], f"DD, start {sizes['start'].iloc[0]}")
    left.set(xscale="log", xlabel="secured share of the parameters, from the bottom", ylabel="DD, nats", ylim=(0, None))
    in_percent(left.xaxis)
    right.barh(begun["start"], begun["dd"], xerr=begun["stderr"], color=GREY, edgecolor="black", linewidth=0.6)
    right.set(xlabel=f"DD of {begun['secured'].iloc[0]}, nats")
    right.axvline(begun["victim"].iloc[0], color="black", linestyle="--", linewidth=1)
    left.axhline(sizes["victim"].iloc[0], color="black", linestyle="--", linewidth=1, label="victim")
    legend_below(figure, left)
    best, worst = begun.iloc[0], begun.iloc[-1]
    return figure, (
        f"Right: the attacker chooses his start; {best['start']} begins at {best['dd']:.2f} nats, {worst['start']} at "
        f"{worst['dd']:.2f}, with the same layers secured. Left: more secured parameters need not mean a worse start."
    )


def with_difficulty(attacks: pd.DataFrame, difficulty: pd.DataFrame) -> pd.DataFrame:
    """Attack runs whose secured set has a DD, with it and its error; one model, the start the attacker used."""
    known = difficulty[difficulty["kind"] != "empty"].drop_duplicates(["secured", "start"])
    known = known.set_index(["secured", "start"])[["dd", "stderr"]]
    found = known.reindex(pd.MultiIndex.from_frame(attacks[["secured", "start"]])).to_numpy(float)
    return attacks.assign(dd=found[:, 0], dd_stderr=found[:, 1]).dropna(subset="dd")


def difficulty_recovered(tables: Tables) -> Plot | None:
    """DD of a secured set against agreement after the attack, for the runs whose set has a DD."""
    if (points := with_difficulty(attack_runs(tables), tables["difficulty"]).sort_values("agreement")).empty:
        return None
    figure, (axes,) = canvas(height=4.4)
    for attack, (marker, colour) in ATTACKS.items():
        if (mine := points[points["attack"] == attack]).empty:
            continue
        axes.scatter(mine["dd"], mine["agreement"], marker=marker, color=colour, s=70, label=attack, zorder=3)
        axes.errorbar(mine["dd"], mine["agreement"], mine["agreement_stderr"], mine["dd_stderr"], **INTERVALS)
    reach, lowest = points["dd"].max() - points["dd"].min() + 1, -1.0
    for point in points.itertuples():  # names in a column on the right, at a distance from one another
        lowest = max(point.agreement, lowest + 0.06)
        line, place = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}, (points["dd"].max() + 0.1 * reach, lowest)
        axes.annotate(point.run, (point.dd, point.agreement), place, fontsize=8.5, va="center", arrowprops=line)
    axes.set(xlabel="DD of the secured set, nats", ylabel="agreement after the attack", ylim=(-0.04, 1.04))
    axes.set_xlim(points["dd"].min() - 0.1 * reach, points["dd"].max() + 0.45 * reach)
    in_percent(axes.yaxis)
    legend_below(figure, axes)
    full = points[points["attack"] == "ft_all"].drop_duplicates("secured").set_index("run")
    how = "too few to correlate"
    if len(full) > 2:
        how = f"Pearson {correlated(intervals.pearson(full['dd'].astype(float), full['agreement'].astype(float)))}"
    return figure, (
        f"n is tiny: {len(points)} runs on {points['secured'].nunique()} secured sets, {len(full)} by FT-all "
        f"({how}); where two attacks meet the same DD, the height between them is what DD does not see. Bars: "
        "one standard error."
    )
