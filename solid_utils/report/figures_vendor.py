"""What secret parameters buy: every attacked set by its share, what was taken of it, and what half of it cost; and what
defences cost the customer and leave to a thief."""

import pandas as pd
from matplotlib.ticker import FuncFormatter

from solid_utils.metrics.attack_cost import compact
from solid_utils.report import holding, vendor
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


def defences(tables: Tables) -> Plot | None:
    """What a defence costs the customer in perplexity against what it leaves the strongest thief; reads `boundaries`
    and `turns`. Left of the dotted line a customer can use it; a vendor wants points at the bottom there."""
    rows = defended(tables)
    if rows.empty:
        return None
    figure, (axes,) = canvas(width=7.5, height=4.0)
    axes.axvline(vendor.AT_MOST, color="black", linestyle=":", linewidth=1, label="a customer's limit")
    for (kind, mine), (marker, colour) in zip(rows.groupby("kind", sort=False), marks(), strict=False):
        axes.scatter(mine["worse"], mine["above"], 34, marker=marker, color=colour, label=kind, zorder=3)
        beside = (4, 4) if kind == rows["kind"].iloc[0] else (4, -11)  # points of two kinds may lie beside each other
        for row in mine[~mine["usable"].astype(bool)].itertuples():
            axes.annotate(row.named, (row.worse, row.above), beside, textcoords="offset points", fontsize=7.5)
    axes.set_xscale("symlog", linthresh=vendor.AT_MOST)
    axes.set(xlabel="perplexity worse", ylabel="taken above the floor, C4")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    in_percent(axes.yaxis)
    axes.set_ylim(0, 1.12 * rows["above"].max())  # room for a name
    legend_below(figure, axes, columns=3)
    return figure, defences_sentence(rows)


def defended(tables: Tables) -> pd.DataFrame:
    """A defence, or a pair of bottoms, each: kind, named, worse, usable, and `above` of its strongest thief."""
    rows = []
    for table, place in (("boundaries", vendor.DEFENCE), ("turns", vendor.PAIR)):
        for _, mine in tables[table].groupby(place, sort=False):
            customers = mine[mine["attack"] == vendor.NONE].iloc[0]
            named = vendor.named(customers) if table == "boundaries" else f"{customers['twin']} {customers['spread']:g}"
            kind = customers["secured"] + (": a defence" if table == "boundaries" else ": two bottoms")
            thief = mine[mine["attack"] != vendor.NONE]["above"].max()
            rows.append(
                {"kind": kind, "named": named, "above": thief} | dict(customers[["secured", "worse", "usable"]])
            )
    made = pd.DataFrame(rows, columns=["kind", "named", "secured", "worse", "usable", "above"])
    return made.dropna(subset=["worse", "above"])  # without a floor, or without one bottom alone, nothing is known


def defences_sentence(rows: pd.DataFrame) -> str:
    """Of each set what the usable defence that takes most leaves, beside no defence at all."""
    told = []
    for secured, mine in rows.groupby("secured", sort=False):
        usable = mine[mine["usable"].astype(bool)]
        least = usable.loc[usable["above"].idxmin()]
        none = mine[mine["worse"] == 0]["above"].max()
        told.append(
            f"with {secured} secured the usable one that takes most ({least['named']}) leaves "
            f"{percent(least['above'])}, none {percent(none)}"
        )
    return f"Of web text a thief has: {'; '.join(told)}."
