"""What secret parameters buy: every attacked set by its share, what was taken of it, and what half of it cost."""

import pandas as pd
from matplotlib.ticker import FuncFormatter

from solid_utils.metrics.attack_cost import compact
from solid_utils.report import holding
from solid_utils.report.figures_scale import marks
from solid_utils.report.plotting import PALETTE, Plot, Tables, canvas, in_percent, legend_below
from solid_utils.report.wording import percent

REACH = 14  # points, of an arrow


def holding_sets(tables: Tables) -> Plot | None:
    """Share secured against what was taken, and against queries to half; reads `holding`.

    Hollow: the set holds. Lines: the Pareto front, from which no set takes less by securing less. Arrow up: half was
    not reached with the most that was tried. The shaded corner is what a vendor wants.
    """
    rows = tables["holding"]
    if rows.empty:
        return None
    figure, (taken, cost) = canvas(width=9.5, height=4.3, columns=2)
    taken.fill_between(
        [rows["share"].min() / 2, holding.SMALL], -0.02, holding.WITHIN, color=PALETTE[7], alpha=0.25, linewidth=0,
        label="a tenth of the parameters, within five points",
    )  # fmt: skip
    for (model, mine), (marker, colour) in zip(rows.groupby("model", sort=False), marks(), strict=False):
        for holds, some in mine.groupby(mine["holds"].astype(bool)):
            face = "white" if holds else colour
            taken.scatter(some["share"], some["taken"], 30, marker=marker, facecolor=face, edgecolor=colour, zorder=3)
        front = mine.sort_values("share")
        front = front[front["taken"] < front["taken"].cummin().shift(fill_value=2)]
        taken.step(front["share"], front["taken"], where="post", color=colour, linewidth=1, label=model)
        half = mine[mine["reached"].astype(bool)]
        cost.scatter(half["share"], half["queries_half"].astype(float), 30, marker=marker, color=colour, zorder=3)
        for row in mine[~mine["reached"].astype(bool)].itertuples():
            looks = {"arrowstyle": "<-", "color": colour}
            place = (row.share, row.most_queries)
            cost.scatter(*place, 30, marker=marker, facecolor="white", edgecolor=colour, zorder=3)
            cost.annotate("", place, (0, REACH), textcoords="offset points", arrowprops=looks)
    taken.set(xscale="log", xlabel="secured parameters", ylabel="taken above the floor, C4", title="what was taken")
    cost.set(xscale="log", yscale="log", xlabel="secured parameters", ylabel="queries", title="queries to half")
    cost.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    in_percent(taken.yaxis)
    for axes in (taken, cost):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    legend_below(figure, taken, columns=4)
    return figure, sentence(rows)


def sentence(rows: pd.DataFrame) -> str:
    """How many small sets hold, and the smallest that does, by victim."""
    small = rows[rows["small"].astype(bool)]
    told = [f"{small['holds'].sum()} of {len(small)} sets with at most a tenth of the parameters hold"]
    for model, mine in rows[rows["holds"].astype(bool)].groupby("model", sort=False):
        first = mine.loc[mine["share"].idxmin()]
        told.append(f"of {model} the smallest that holds has {percent(first['share'])}")
    return f"On web text {'; '.join(told)}."
