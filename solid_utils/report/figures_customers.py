"""Customization cells in the paper's figures: gaps to fully open by place, size and end, beside what attacks got."""

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from solid_utils.paper import margin
from solid_utils.report.plotting import GREY, PALETTE, Plot, Tables, canvas, in_percent, legend_below, reach
from solid_utils.report.tables.customization import domain
from solid_utils.report.tables.equivalence import GAINS_NOTHING
from solid_utils.report.tables.trade_off import NOT_RUN
from solid_utils.report.wording import between, percent

LOOK = {"marker": "*", "markersize": 9, "linestyle": "--", "color": "black", "capsize": 2, "linewidth": 1}
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
FROM = "gap to fully open (points)"


def cells(tables: Tables, *parts: str) -> pd.DataFrame:
    """Rows of `trade_off` of these groups of cells that ran, each set and domain once."""
    rows = tables["trade_off"]
    rows = rows[rows["part"].isin(parts) & (rows["equivalence"] != NOT_RUN)]
    numbers = ["share", "depth", "lowest", "open", "after", "gap", "gap_low", "gap_high", "above_floor_apart"]
    rows = rows.astype(dict.fromkeys(numbers, float))
    return rows.drop_duplicates(["model", "machine", "run"]).reset_index(drop=True)


def mathematics(tables: Tables) -> pd.DataFrame:
    """The default study's customizations on mathematics, all kinds of problems together; all where none is on it."""
    rows = tables["customization"].query("benchmark == 'all'")
    mine = rows[domain(rows) == "math"]
    return (mine if len(mine) else rows).reset_index(drop=True)


def missing(tables: Tables, *parts: str) -> str:
    """A sentence on what of these groups was planned and has no cells, with a space before; empty where all ran."""
    rows = tables["trade_off"]
    mine = rows[rows["part"].isin(parts)].drop_duplicates(["model", "machine", "run"])
    count = (mine["equivalence"] == NOT_RUN).sum()
    return f" {count} of {len(mine)} planned runs have no cells yet." if count else ""


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Lengths of the bars of a score whose gap has an interval, (below or above, rows), in percent."""
    return 100 * reach(rows, "gap")


def by_place(axes: Axes, rows: pd.DataFrame) -> None:
    """Scores after customization against the first secured layer, on an axis of their own at the right."""
    if rows.empty:
        return
    right = axes.twinx()
    scores(right, rows, rows["lowest"])
    right.set(ylabel="score after customization (%)", title=axes.get_title())
    right.grid(visible=False)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8, frameon=False)


def scores(axes: Axes, rows: pd.DataFrame, x: pd.Series) -> None:
    """Scores after customization in percent by `x`, a line a domain, with the gap's interval; fully open dotted."""
    for (name, mine), marker in zip(rows.groupby("trained_on", sort=False), cycle(MARKS), strict=False):
        order = x[mine.index].sort_values(kind="stable").index
        mine = mine.loc[order]
        look = LOOK | {"marker": marker, "markerfacecolor": "white", "label": f"{name}, customized"}
        axes.errorbar(x[order], 100 * mine["after"], yerr=errors(mine), **look)
        opened = 100 * mine["open"].mean()
        axes.axhline(opened, color=GREY, linestyle=":", linewidth=1.2, label=f"{name}, fully open")


def ends(axes: Axes, rows: pd.DataFrame, layers: dict[str, int]) -> None:
    """Gaps of the two bottom and the two top layers, a pair of bars a domain; `layers` by model, as far as known."""
    domains = list(dict.fromkeys(rows["trained_on"]))
    kinds = {"two bottom": rows["lowest"] == 0, "two top": rows["lowest"] + rows["depth"] == rows["model"].map(layers)}
    for shift, (name, chosen), colour, hatch in zip((-0.2, 0.2), kinds.items(), PALETTE[:2], ("", "//"), strict=True):
        mine = rows[chosen]
        places = [domains.index(one) + shift for one in mine["trained_on"]]
        look = {"yerr": errors(mine), "capsize": 3, "color": colour, "hatch": hatch}
        axes.bar(places, 100 * mine["gap"], 0.38, label=name, **look)
    bound(axes)
    axes.set_xticks(range(len(domains)), domains, fontsize=8)
    axes.set_ylabel(FROM, fontsize=9)


def bound(axes: Axes) -> None:
    """Lines at no gap and at the margin that the paper still calls as good."""
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(-100 * margin.margin(), color="black", linestyle=":", linewidth=1)


def deployments(axes: Axes, rows: pd.DataFrame) -> None:
    """Scores after customization in percent: a group of bars a domain, fully open first, as in Figure 5."""
    domains = list(dict.fromkeys(rows["trained_on"]))
    names = list(dict.fromkeys(rows["deployment"]))
    width = 0.8 / (len(names) + 1)
    opened = rows.drop_duplicates("trained_on")
    axes.bar([spot - 0.4 + width / 2 for spot in range(len(domains))], 100 * opened["open"], width, label="fully open")
    for place, (name, hatch) in enumerate(zip(names, ("//", "..", "xx", "\\\\", "--"), strict=False), start=1):
        mine = rows[rows["deployment"] == name]
        spots = [domains.index(one) - 0.4 + width * (place + 0.5) for one in mine["trained_on"]]
        look = {"yerr": errors(mine), "capsize": 2, "color": PALETTE[place], "hatch": hatch, "label": name}
        axes.bar(spots, 100 * mine["after"], width, **look)
    axes.set_xticks(range(len(domains)), domains, fontsize=8)
    axes.set_ylabel("score after customization (%)", fontsize=9)


def said(rows: pd.DataFrame, of: str = "secured", what: str = "") -> str:
    """Gaps with their intervals and verdicts, in points. what: which cells these are, " by place"."""
    if rows.empty:
        return f"No customization cell{what or ' of this'} ran here (`make customers`)."
    told = [
        f"{getattr(row, of)} on {row.trained_on} {between(pd.Series(row._asdict()), 'gap')}, {row.equivalence}"
        for row in rows.itertuples()
    ]
    return f"Customized{what}, gap to fully open: {'; '.join(told)}."


def trade_off(tables: Tables) -> Plot | None:
    """Gap to fully open against what the strongest attack got of the same set; a mark a group of cells."""
    parts = list(dict.fromkeys(tables["trade_off"]["part"]))
    ran = cells(tables, *parts).dropna(subset="above_floor_apart")
    rows = ran[ran["equivalence"] != GAINS_NOTHING]  # there is nothing to lose, so the gap says nothing
    if rows.empty:
        return None
    idle = len(ran) - len(rows)
    left = f" {idle} cells on which fully open gains nothing are left out." if idle else ""
    figure, (axes,) = canvas(width=7.5, height=4.4)
    shown = zip(rows.groupby("part", sort=False), cycle(MARKS), cycle(PALETTE), strict=False)
    for (part, mine), marker, colour in shown:
        look = {"fmt": marker, "color": colour, "capsize": 2, "markersize": 6, "label": part}
        axes.errorbar(mine["above_floor_apart"], 100 * mine["gap"], yerr=errors(mine), **look)
    # In the order of x above and below in turns: neighbours' names stay apart. On the right they end at their mark.
    for number, row in enumerate(rows.sort_values("above_floor_apart", kind="stable").itertuples()):
        place = (row.above_floor_apart, 100 * row.gap)
        side = -1 if row.above_floor_apart > rows["above_floor_apart"].mean() else 1
        look = {"ha": "right" if side < 0 else "left", "va": "top" if number % 2 else "bottom", "fontsize": 7}
        off = (5 * side, -4 if number % 2 else 4)
        axes.annotate(f"{row.secured}, {row.trained_on}", place, off, textcoords="offset points", **look)
    bound(axes)
    axes.set(xlabel="strongest attack, above the floor on web text and code", ylabel=FROM)
    in_percent(axes.xaxis)
    legend_below(figure, axes)
    bad = rows.loc[rows["gap"].idxmin()]
    return figure, (
        f"Good for vendor and customer is up and to the left. Lowest is {bad['secured']} on {bad['trained_on']}, "
        f"{between(bad, 'gap')} from fully open, of which {bad['attack']} got {percent(bad['above_floor_apart'])}; the "
        f"dotted line is the paper's own margin. Bars: paired 95 % intervals.{left}{missing(tables, *parts)}"
    )
