"""The paper's figures 3, 4, 7 and 8 redrawn from its published tables, ours beside them: security by place and size."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from solid_utils.paper import registry
from solid_utils.report import figures_customers, paper_numbers
from solid_utils.report.depths import depths
from solid_utils.report.paper_numbers import ADR
from solid_utils.report.plotting import ATTACKS, GREY, PALETTE, Plot, Tables, in_percent
from solid_utils.report.wording import percent

MODELS = {  # the paper's -> marker, colour
    "Llama2-70B": ("P", PALETTE[3]),
    "Llama2-7B": ("o", PALETTE[0]),
    "Mistral-7B": ("s", PALETTE[1]),
    "Phi-2": ("^", PALETTE[2]),
    "Phi-1.5": ("D", PALETTE[4]),
    "OPT-350M": ("v", PALETTE[5]),
}
ABOVE = "ADR above fully secured (points)"
OURS = "above the floor, C4 and code"
SEVEN = 7  # percent of the decoder: two layers in Table 10, what SOLID secures of the small models
SMALL = {"fontsize": 8, "frameon": False}


def panels(rows: int, columns: int, width: float = 3.7, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """An empty figure of equal panels, row by row."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for one in axes:
        for side in (one.xaxis, one.yaxis):
            side.label.set_fontsize(9)
        one.title.set_fontsize(10)
    return figure, axes


def plain_log(axes: Axes, ticks: tuple[float, ...]) -> None:
    """A logarithmic x axis whose ticks are these numbers, written out."""
    axes.set_xscale("log")
    axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def not_run(axes: Axes, key: str) -> None:
    """A panel that says what our side of a figure would take."""
    text = textwrap.fill(f"not run here: needs {registry.load()[key].needs}", 34)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


def line(axes: Axes, x: pd.Series, y: pd.Series, model: str, **look) -> None:
    """A line of one of the paper's models."""
    marker, colour = MODELS[model]
    axes.plot(x, y, marker=marker, color=colour, label=model, **({"markersize": 4.5, "linewidth": 1.3} | look))


def named(family: pd.DataFrame) -> str:
    """An attack and its budget, for a legend."""
    return f"{family['attack'].iloc[0]}, {family['queries'].iloc[0]:,.0f} queries"


def single_layers(tables: Tables) -> pd.DataFrame:
    """Our ends on single layers, `place` the layer."""
    ends = tables["evidence"]
    found = paper_numbers.families(tables, ends["only_layers"].astype(bool) & (ends["depth"].astype(float) == 1))
    return found.assign(place=paper_numbers.layer(found["secured"])).dropna(subset="place").sort_values("place")


def ours_by_place(axes: Axes, ends: pd.DataFrame, key: str) -> None:
    """Above the floor by the secured layer, a line an attack; what is missing where no two places were attacked."""
    if ends["secured"].nunique() < 2:
        not_run(axes, key)
        return
    for attack, mine in ends.groupby("attack", sort=False):
        marker, colour = ATTACKS.get(attack, ("X", GREY))
        axes.plot(
            mine["place"], mine["above_floor_apart"], marker=marker, color=colour, label=named(mine), markersize=5
        )
    axes.set(xlabel="secured layer", ylabel=OURS, ylim=(None, 1.02))
    in_percent(axes.yaxis)
    axes.legend(**SMALL)


def read_places(ends: pd.DataFrame) -> str:
    """Our bottom layer against the others, an attack each."""
    told = []
    for attack, mine in ends.groupby("attack", sort=False):
        first, others = mine[mine["place"] == 0], mine[mine["place"] != 0]
        if len(first) and len(others):
            least, most = others["above_floor_apart"].min(), others["above_floor_apart"].max()
            told.append(
                f"{attack} {percent(first['above_floor_apart'].iloc[0])} against {percent(least)} to {percent(most)}"
            )
    return f"Here, layer 0 against other single layers: {', '.join(told)}." if told else "Here it was not run."


def figure_3(tables: Tables) -> Plot | None:
    """Llama2-70B with two bottom or top layers secured (Tables 12 and 13), and our pairs."""
    kept = figures_customers.cells(tables, "ends")
    figure, axes = panels(1, 4 if len(kept) else 3, width=4.0, height=3.7)
    named_as = {"Semi-Open-1": "two bottom", "Semi-Open-2": "two top", "Fully Secured": "all"}
    ratios = paper_numbers.domains(13, "Llama2-70B", list(named_as)).rename(columns=named_as)
    tasks = paper_numbers.customized(12).rename(
        columns={"Bottom2-Secured": "two bottom", "Top2-Secured": "two top", "Fully Secured": "all"}
    )
    bars(axes[0], ratios, "distillation ratio (%)")
    bars(axes[1], tasks[list(named_as.values())], "score after customization (%)")
    axes[0].set_title("paper, security: Llama2-70B (Table 13)")
    axes[1].set_title("paper, customization (Table 12)")
    axes[0].legend(title="secured", title_fontsize=8, **SMALL)
    ends = pairs(tables)
    axes[2].set_title("here, security")
    if ends.empty:
        not_run(axes[2], "figure_3")
    else:
        wide = 100 * ends.pivot(index="label", columns="end", values="above_floor_apart").loc[ends["label"].unique()]
        bars(axes[2], wide[[name for name in named_as.values() if name in wide]], f"{OURS} (%)")
        axes[2].axhline(0, color="black", linewidth=0.8)
    if len(kept):
        figures_customers.ends(axes[3], kept, depths(tables["difficulty"]))
        axes[3].set_title("here, customization")
        axes[3].legend(title="secured", title_fontsize=8, **SMALL)
    read = []
    for label, mine in ends.groupby("label", sort=False):
        values = ", ".join(f"{row.end} {percent(row.above_floor_apart)}" for row in mine.itertuples())
        read.append(f"{' '.join(label.split())}: {values}")
    ratio = ratios.mean()
    return figure, (
        f"Paper: the mean of the domains' ratios is {ratio['two bottom']:.0f} % with two bottom layers secured, "
        f"{ratio['two top']:.0f} % with two top ones. Here, above the floor: {'; '.join(read) or 'not run'}. "
        f"{figures_customers.said(kept)}{figures_customers.missing(tables, 'ends')}"
    )


def pairs(tables: Tables) -> pd.DataFrame:
    """Our ends on the two bottom and the two top layers, of attacks that have both, and on all that is secret."""
    ends = tables["evidence"]
    known = depths(tables["difficulty"])  # of the one model that these tables are of
    if not known:
        return pd.DataFrame(columns=["label", "end", "above_floor_apart"])
    last = max(known.values()) - 1
    sets = {"layers 0-1": "two bottom", f"layers {last - 1}-{last}": "two top", "all": "all"}
    found = paper_numbers.families(tables, ends["secured"].isin(list(sets)[:2]))
    found = found.groupby("attack", sort=False).filter(lambda rows: rows["secured"].nunique() == 2)
    whole = paper_numbers.families(tables, ends["secured"] == "all")
    found = pd.concat([found, whole[whole["attack"].isin(found["attack"])]])
    labels = found["attack"] + "\n" + found["queries"].map("{:,.0f} queries".format)
    return found.assign(label=labels, end=found["secured"].map(sets))


def bars(axes: Axes, wide: pd.DataFrame, label: str) -> None:
    """Grouped bars: a group a row, a bar a column, told apart by hatching too."""
    width = 0.8 / max(1, wide.shape[1])
    for place, (name, hatch) in enumerate(zip(wide.columns, ("", "//", "..", "xx", "\\\\"), strict=False)):
        shift = (place - (wide.shape[1] - 1) / 2) * width
        spots = [spot + shift for spot in range(len(wide))]
        axes.bar(spots, wide[name], width, label=name, color=PALETTE[(0, 1, 7, 2, 4)[place]], hatch=hatch)
    axes.set_xticks(range(len(wide)), wide.index, fontsize=8)
    axes.set_ylabel(label, fontsize=9)


def figure_4(tables: Tables) -> Plot | None:
    """Place and size: ADR of two models (Tables 26, 27, 30, 31, 34, 38), GSM8K by size (Table 33), and ours."""
    figure, axes = panels(2, 2, width=5.2, height=3.4)
    for model in ("Llama2-7B", "Phi-2"):
        placed = paper_numbers.by_place(model)
        line(axes[0], placed["index"], placed[ADR], model)
        sized = paper_numbers.by_share(model)
        line(axes[1], sized["share"], sized[ADR], model)
        kept = paper_numbers.customized_by_size()[model]
        look = {"linestyle": "--", "markerfacecolor": "white", "label": f"{model}, GSM8K"}
        axes[1].plot(
            kept["share"], kept["score"], color=MODELS[model][1], marker=MODELS[model][0], markersize=4.5, **look
        )
    axes[0].set(xlabel="secured set, from the bottom", ylabel="ADR (%)", title="paper, by place")
    axes[1].set(xlabel="secured share of the decoder (%)", ylabel="ADR, GSM8K (%)")
    plain_log(axes[1], (0.25, 1, 3, 10, 30, 100))
    axes[1].set_title("paper, by size from the bottom")
    for one in axes[:2]:
        one.set_ylim(0, 102)
        one.legend(**SMALL)
    ends = single_layers(tables)
    axes[2].set_title("here, by place")
    ours_by_place(axes[2], ends, "figure_4")
    placed_cells = figures_customers.cells(tables, "placement")
    figures_customers.by_place(axes[2], placed_cells)
    axes[3].set_title("here, by size from the bottom")
    grown = ours_by_size(axes[3], tables)
    return figure, (
        f"Paper: by place Phi-2's ratio rises from {placed[ADR].iloc[0]:.0f} to {placed[ADR].iloc[-1]:.0f} %; its "
        f"customization by place stands in a drawing alone and is left out. {read_places(ends)} {grown} "
        f"{figures_customers.said(placed_cells, what=' by place')}"
        f"{figures_customers.missing(tables, 'placement', 'size', 'depths')}"
    )


def ours_by_size(axes: Axes, tables: Tables) -> str:
    """Above the floor by share of secured bottom layers, and our customizations; a sentence on both."""
    ends = paper_numbers.families(tables, tables["evidence"]["prefix"].astype(bool))
    if ends["secured"].nunique() < 2:
        not_run(axes, "figure_4")
        return ""
    for attack, mine in ends.sort_values("share").groupby("attack", sort=False):
        marker, colour = ATTACKS.get(attack, ("X", GREY))
        axes.plot(100 * mine["share"], 100 * mine["above_floor_apart"], marker=marker, color=colour, label=named(mine))
    kept = figures_customers.mathematics(tables)
    known = tables["difficulty"].drop_duplicates("secured").set_index("secured")["share"]
    kept = kept.assign(share=kept["secured"].map(known)).query("share > 0")
    look = {"marker": "*", "markersize": 10, "linestyle": "", "markerfacecolor": "white", "color": "black"}
    axes.plot(100 * kept["share"], 100 * kept["after"], label="mathematics after customization", **look)
    sized = figures_customers.cells(tables, "size", "depths")
    figures_customers.scores(axes, sized, 100 * sized["share"])
    axes.set(xlabel="secured share of all parameters (%)", ylabel=f"{OURS} (%)")
    plain_log(axes, (1, 3, 10, 30, 100))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, **SMALL)
    lines = [mine.sort_values("share") for _, mine in ends.groupby("attack")]
    longest = max(lines, key=lambda mine: (len(mine), mine["above_floor_apart"].mean()))
    first, last = longest.iloc[0], longest.iloc[-1]
    customized = f" {figures_customers.said(sized)}" if len(sized) else ""
    return (
        f"By size, {named(longest)}: {percent(first['above_floor_apart'])} of {first['secured']}, "
        f"{percent(last['above_floor_apart'])} of {last['secured']}.{customized}"
    )


def figure_7(tables: Tables) -> Plot | None:
    """ADR above fully secured by place, Mistral-7B and Phi-1.5 (Tables 28, 29, 32), and our single layers."""
    figure, axes = panels(1, 3)
    for one, model in zip(axes, ("Mistral-7B", "Phi-1.5"), strict=False):
        placed = paper_numbers.by_place(model)
        line(one, placed["index"], placed["above"], model)
        one.axhline(0, color="black", linestyle=":", linewidth=1)
        one.set(title=f"paper: {model}", xlabel="secured set, from the bottom", ylabel=ABOVE)
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
    ends = single_layers(tables)
    axes[2].set_title("here")
    ours_by_place(axes[2], ends, "figure_7")
    return figure, (
        f"Paper: the last set of Phi-1.5 stands {placed['above'].iloc[-1]:.0f} points above the fully secured model, "
        f"its first {placed['above'].iloc[0]:.1f}. {read_places(ends)}"
    )


def figure_8(tables: Tables) -> Plot | None:
    """ADR above fully secured by number and by share of secured parameters (Tables 34 to 41), and our linear map."""
    figure, axes = panels(1, 3)
    most = 0.0
    for model in paper_numbers.BY_NUMBER:
        by_number, by_share = paper_numbers.by_number(model), paper_numbers.by_share(model)
        line(axes[0], by_number["millions"], by_number["above"], model)
        line(axes[1], by_share["share"], by_share["above"], model)
        most = max(most, by_share.loc[by_share["share"] >= SEVEN, "above"].max())
    axes[0].set(title="paper, by number", xlabel="secured parameters (millions)", ylabel=ABOVE)
    axes[1].set(title="paper, by share", xlabel="secured share of the decoder (%)", ylabel=ABOVE)
    plain_log(axes[0], (20, 50, 100, 200, 600))
    plain_log(axes[1], (0.25, 1, 3, 10, 30, 100))
    axes[0].legend(**SMALL)
    axes[2].set_title("here, by number")
    told = ours_by_number(axes[2], tables)
    return figure, (
        f"Paper: from {SEVEN} % of the decoder on, at most {most:.1f} points above the fully secured model. Two "
        f"columns of Mistral-7B below 3 % look swapped in the paper and are drawn as printed. {told}"
    )


def ours_by_number(axes: Axes, tables: Tables) -> str:
    """The linear map of the scale study on parts of layer 0 and on bottom layers; a sentence on them."""
    cells = tables["scale"].query("attack == 'stitch' and recipe == 'map'")
    parts = cells["secured"].str.startswith("layer 0 ")
    bottom = cells["only_layers"].astype(bool) & (cells["lowest"] == 0)
    cells = cells[parts | bottom]
    queries = cells.groupby("queries")["secured"].nunique()
    cells = cells[cells["queries"] == queries.idxmax()] if len(queries) else cells
    if cells["secured"].nunique() < 2:
        not_run(axes, "figure_8")
        return "Here it was not run."
    cells = cells.sort_values("parameters")
    marker, colour = ATTACKS["stitch"]
    for kind, mine in (("a part of layer 0", cells[cells["depth"] == 0]), ("bottom layers", cells[cells["depth"] > 0])):
        face = colour if kind == "bottom layers" else "white"
        axes.plot(
            mine["parameters"] / 1e6, mine["c4_above"], marker=marker, color=colour, markerfacecolor=face, label=kind
        )
    axes.set(xlabel="secured parameters (millions)", ylabel="above the floor on C4, linear map")
    plain_log(axes, (0.1, 1, 10, 100, 1000))
    in_percent(axes.yaxis)
    axes.legend(**SMALL)
    least, most = cells.iloc[0], cells.iloc[-1]
    return (
        f"Here a linear map from {least['queries']:.0f} texts recovers {percent(least['c4_above'])} above the floor of "
        f"{least['secured']} and {percent(most['c4_above'])} of {most['secured']}."
    )
