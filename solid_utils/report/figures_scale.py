"""The study in one figure: what half of a victim costs, by its size and by depth, beside the paper's claim."""

from collections.abc import Iterator
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from solid_utils.metrics.attack_cost import compact
from solid_utils.report import size
from solid_utils.report.plotting import PALETTE, Plot, Tables, canvas, legend_below

TITLES = {"own": "on prompts like the attack's own", "c4": "on web text (C4)"}
REACH = 16  # points, of an arrow
PAPERS = "attack sets of the paper at 7B, said to fail (Table 25)"


def marks() -> Iterator[tuple[str, tuple]]:
    """Marker and colour, one a victim, without end; two lengths without a common factor: pairs repeat late."""
    colours = [PALETTE[place] for place in (0, 1, 4, 2, 3, 5)]  # 7 is the grey of bands
    return zip(cycle("os^Dv"), cycle(colours), strict=True)


def scale_cost(tables: Tables) -> Plot | None:
    """Queries to half against secured bottom layers, a panel a kind of text, a line a victim; reads `scale_cost`.

    Lines join sets from which half was taken. Hollow, arrow up: half was not reached with the most that was tried;
    arrow down: the fewest tried sufficed.
    """
    rows = tables["scale_cost"]
    if rows.empty:
        return None
    figure, panels = canvas(width=9.5, height=4.3, columns=len(size.KINDS))
    least, most = size.papers_queries()
    for axes, kind in zip(panels, size.KINDS, strict=True):
        for (model, mine), style in zip(rows.groupby("model", sort=False), marks(), strict=False):
            _line(axes, mine, kind, f"{model} ({mine['model_parameters'].iloc[0] / 1e6:,.0f}M)", style)
        axes.axhspan(least, most, color=PALETTE[7], alpha=0.25, linewidth=0, zorder=0, label=PAPERS)
        axes.set(xscale="log", yscale="log", title=TITLES[kind], xlabel="secured bottom layers")
        axes.set_ylim(rows[["queries_own", "queries_c4"]].min(axis=None) / 3, 1.5 * most)
        axes.xaxis.set(major_locator=LogLocator(base=2), minor_locator=NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    panels[0].set_ylabel("queries to recover half")
    legend_below(figure, panels[0], columns=3)
    return figure, sentence(rows)


def _line(axes: Axes, mine: pd.DataFrame, kind: str, label: str, style: tuple) -> None:
    marker, colour = style
    fallen = mine[mine[f"reached_{kind}"].astype(bool)]
    axes.plot(fallen["depth"], fallen[f"queries_{kind}"], color=colour, linewidth=1.2, zorder=2)
    axes.scatter([], [], marker=marker, color=colour, label=label)
    for row in mine.itertuples():
        reached = getattr(row, f"reached_{kind}")
        place = (row.depth, getattr(row, f"queries_{kind}"))
        axes.scatter(*place, 40, marker=marker, facecolor=colour if reached else "white", edgecolor=colour, zorder=3)
        if not reached or getattr(row, f"at_most_{kind}"):
            arrow = {"textcoords": "offset points", "arrowprops": {"arrowstyle": "<-", "color": colour}}
            axes.annotate("", place, (0, -REACH if reached else REACH), **arrow)


def sentence(rows: pd.DataFrame) -> str:
    """Layer 0 of each victim on C4, and the deepest set from which half was taken."""
    told = []
    for model, mine in rows.groupby("model", sort=False):
        first = mine[mine["depth"] == 1]
        if len(first):
            one = first.iloc[0]
            many = f"{one['queries_c4']:,} queries"
            how = f"gave half to {many} ({one['attack_c4']})" if one["reached_c4"] else f"gave less than half to {many}"
            told.append(f"of {model} layer 0 {how}")
    fallen = rows[rows["reached_c4"].astype(bool)]["depth"]
    deepest = f"the most bottom layers from which half was taken are {fallen.max():.0f}" if len(fallen) else ""
    lines = "; ".join(part for part in [*told, deepest] if part)
    return f"On web text {lines}. Half is of what trigrams of public text do not give."
