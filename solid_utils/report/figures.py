"""The study's figures, drawn from its tables, each with one sentence, filled from the same numbers, on what to see.

Files are byte-identical from run to run: fixed size and fonts, no date in them. Colours are seaborn's colour-blind
palette, and no figure tells things apart by colour alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

from solid_utils.report.figures_attacks import cost_by_depth, recovered_by_queries
from solid_utils.report.figures_customers import trade_off
from solid_utils.report.figures_depth import recovered_by_depth
from solid_utils.report.figures_difficulty import (
    difficulty_choices,
    difficulty_prefix,
    difficulty_recovered,
    difficulty_single,
)
from solid_utils.report.figures_paper import figure_3, figure_4, figure_7, figure_8
from solid_utils.report.figures_paper_more import figure_5, figure_6, figure_9, figure_10
from solid_utils.report.figures_scale import scale_cost
from solid_utils.report.figures_vendor import defences, holding_sets
from solid_utils.report.picture import SETTINGS, Picture, as_png, as_svg
from solid_utils.report.plotting import (
    ATTACKS,
    BLUE,
    GREY,
    INTERVALS,
    ORANGE,
    PALETTE,
    STYLE,
    Plot,
    Tables,
    attack_runs,
    canvas,
    in_percent,
    legend_below,
    reach,
)
from solid_utils.report.tables.customization import domain
from solid_utils.report.wording import interval_note, percent

ALL = "all"  # in place of a model's name


@dataclass(frozen=True)
class Figure:
    """A figure of the study. plot: one model's tables -> the plot and its sentence, None where numbers are missing.

    below: the table that it stands under, and so its section. across: one figure of all models, from whole tables.
    folder: of figures/ in which it lies, with a slash. vector: is it worth the try to make it SVG too?
    """

    name: str
    title: str
    plot: Callable[[Tables], Plot | None]
    below: str
    across: bool = False
    folder: str = ""
    vector: bool = True


def picture(name: str, made: Tables, model: str) -> Picture | None:
    """One figure of one model from the tables that `catalogue.make` returns, of ALL of them where it goes across
    models; None where its numbers are missing."""
    figure = FIGURES[name]
    mine = made if figure.across else {key: table[table["model"] == model] for key, table in made.items()}
    looks = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85) | STYLE
    with matplotlib.rc_context(looks | SETTINGS):
        if (plot := figure.plot(mine)) is None:
            return None
        whole, sentence = plot
        title = figure.title if figure.across else f"{figure.title} ({model})"
        whole.suptitle(title, fontsize=11, fontweight="bold")
        for axes in whole.axes:
            sns.despine(ax=axes)
        png = as_png(whole)
        svg = as_svg(whole) if figure.vector else b""
    return Picture(model, name, png, sentence, figure.folder, title, svg)


def below(table: str) -> list[Figure]:
    """The figures that stand under a table, in order."""
    return [figure for figure in FIGURES.values() if figure.below == table]


def agreement(tables: Tables) -> Plot | None:
    """Agreement with the victim before any query and after the attack, a line a run."""
    runs = attack_runs(tables)
    if runs.empty:
        return None
    figure, (axes,) = canvas(height=1.5 + 0.4 * len(runs))
    start, end, places = runs["agreement_start"], runs["agreement"], runs.index
    axes.hlines(places, start, end, color=GREY, linewidth=2.5, zorder=1)
    hollow = {"color": "white", "edgecolor": ORANGE, "s": 55, "linewidth": 1.8}  # told apart without colour, too
    axes.scatter(start, places, label="before any query", zorder=2, **hollow)
    error = {"xerr": runs["agreement_stderr"], "fmt": "o", "color": BLUE, "markersize": 7, "capsize": 2}
    axes.errorbar(end, places, label="after the attack", zorder=3, **error)
    for place, right in pd.concat([start, end + runs["agreement_stderr"]], axis=1).max(axis=1).items():
        text = f"{100 * start[place]:.0f} to {100 * end[place]:.0f} %"
        axes.annotate(text, (right, place), (10, -3), textcoords="offset points", fontsize=8.5)
    axes.set_yticks(places, [f"{run.run}, {run.steps:.0f} steps" for run in runs.itertuples()], fontsize=9)
    axes.set(xlabel="next-token agreement with the victim", xlim=(-0.02, 1.15), ylim=(len(runs) - 0.5, -0.5))
    in_percent(axes.xaxis)
    legend_below(figure, axes)
    best, top = runs.loc[runs["recovered_share"].idxmax()], runs.loc[start.idxmax()]
    return figure, (
        f"The way from the hollow to the filled dot is what the attack brought: most for {best['run']}, "
        f"{percent(best['recovered_share'])} of what was missing; the open part alone makes {top['run']} agree on "
        f"{percent(top['agreement_start'])} before any query. Bars: one standard error."
    )


def training(tables: Tables) -> Plot | None:
    """Validation agreement against optimizer steps, a panel an attack; mean and range of the seeds."""
    # Customizations have curves, too, whose attack is none.
    curves = tables["training"].query("split == 'validation' and metric == 'agreement' and attack != 'none'")
    curves = curves.astype({"value": float}).sort_values("steps", kind="stable")
    if curves.empty:
        return None
    attacks = [attack for attack in ATTACKS if attack in set(curves["attack"])]
    figure, panels = canvas(width=1.2 + 3.2 * len(attacks), height=4.2, columns=len(attacks))
    for axes, attack in zip(panels, attacks, strict=True):
        mine = curves[curves["attack"] == attack]
        order = [run for run in tables["attacks"]["run"] if run in set(mine["run"])]  # as the table has them
        looks = {
            "markers": True,
            "dashes": False,
            "palette": PALETTE[: len(order)],
            "hue_order": order,
            "style_order": order,
            "errorbar": lambda values: (values.min(), values.max()),
        }
        sns.lineplot(mine, x="steps", y="value", hue="run", style="run", ax=axes, **looks)
        axes.set(title=attack, xlabel="optimizer steps", ylabel="", ylim=(-0.02, 1.02))
        axes.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        in_percent(axes.yaxis)
    panels[0].set_ylabel("agreement, validation prompts")
    means = curves.groupby(["run", "steps"])["value"].mean()
    ends = [list(values.tail(2)) for _, values in means.groupby(level="run")]
    rising = sum(1 for values in ends if values[-1] - values[0] > 0.01)
    return figure, (
        f"A curve that still climbs at its end was stopped by the budget, not by the defence: {rising} of {len(ends)} "
        f"gained more than one point between their last two validations. {_band(curves)}"
    )


def _band(curves: pd.DataFrame) -> str:
    seeds = curves.groupby("run")["seed"].nunique().max()
    return "One seed: no band." if seeds == 1 else f"Bands reach from the lowest to the highest of {seeds} seeds."


RATIOS = {
    "adr_mean_of_ratios": "ADR, mean of ratios (A)",
    "adr_ratio_of_means": "ADR, ratio of means (B)",
    "chance_corrected_ratio": "chance-corrected ratio",
}


def ratios(tables: Tables) -> Plot | None:
    """The paper's ADR, in both its definitions, beside the chance-corrected ratio, run by run."""
    runs = attack_runs(tables).dropna(subset=list(RATIOS))
    if runs.empty:
        return None
    figure, (axes,) = canvas(height=1.7 + 0.5 * len(runs))
    bars = runs.melt("run", list(RATIOS), var_name="ratio").replace({"ratio": RATIOS})
    colours = [ORANGE, sns.desaturate(ORANGE, 0.3), BLUE]
    sns.barplot(bars, y="run", x="value", hue="ratio", palette=colours, errorbar=None, ax=axes)
    for group, name, hatch in zip(list(axes.containers), RATIOS, ("", "//", ".."), strict=True):
        places = [bar.get_y() + bar.get_height() / 2 for bar in group]
        axes.errorbar(runs[name], places, xerr=reach(runs, name), **INTERVALS)
        for bar, place, value, high in zip(group, places, runs[name], runs[f"{name}_high"], strict=True):
            bar.set_hatch(hatch)
            right = np.nanmax([value, high, 0])  # nan without an interval; a bar below 0 ends at the axis
            axes.annotate(f"{100 * value:z.0f}", (right, place), (4, -3), textcoords="offset points", fontsize=7.5)
    guess = float(tables["attacks"].set_index("run").loc["guessing", "adr_mean_of_ratios"])
    axes.axvline(guess, color="black", linestyle=":", linewidth=1.4, label="ADR (A) of guessing")
    axes.axvline(1, color="black", linestyle="--", linewidth=1, label="victim")
    axes.set(xlabel="of the victim, over the benchmarks that count", ylabel="")
    in_percent(axes.xaxis)
    legend_below(figure, axes, columns=3)
    low, high = runs.loc[runs["chance_corrected_ratio"].idxmin()], runs.loc[runs["chance_corrected_ratio"].idxmax()]
    most, least = percent(high["chance_corrected_ratio"]), percent(low["chance_corrected_ratio"])
    return figure, (
        f"An ADR near the dotted line, {percent(guess)}, is what guessing gets; above chance {high['run']} keeps "
        f"{most} of the victim and {low['run']} {least}.{interval_note(runs, 'Lines on the bars are')}"
    )


def customization(tables: Tables) -> Plot | None:
    """Domain scores before and after customization, by deployment; a panel for each kind of problem, of several domains
    one for each of them."""
    if (rows := tables["customization"]).empty:
        return None
    domains = domain(rows)
    rows = rows.assign(panel=rows["benchmark"])
    if domains.nunique() > 1:
        rows = rows.assign(panel=domains).query("benchmark == 'all'")
    kinds = sorted(set(rows["panel"]), key=lambda kind: (kind != "all", kind))
    highest = pd.concat([rows["before"] + rows["before_stderr"], rows["after"] + rows["stderr"]]).max()
    figure, panels = canvas(width=1 + 2.6 * len(kinds), height=3.8, columns=len(kinds))
    for axes, kind in zip(panels, kinds, strict=True):
        mine = rows[rows["panel"] == kind].reset_index(drop=True)
        bars = (("before", -0.2, GREY, "//", mine["before_stderr"]), ("after", 0.2, BLUE, "", mine["stderr"]))
        for state, shift, colour, hatch, error in bars:
            looks = {"capsize": 3, "color": colour, "hatch": hatch}
            drawn = axes.bar(mine.index + shift, mine[state], 0.38, yerr=error, label=state, **looks)
            axes.bar_label(drawn, fmt=lambda share: f"{100 * share:.0f}", padding=2, fontsize=7.5)  # else 0 is no bar
        axes.set_xticks(mine.index, mine["deployment"])
        axes.set(title=f"{kind}, {mine['n'].max():.0f} problems", ylim=(0, min(1.1, 1.2 * highest) or 1))
        in_percent(axes.yaxis)
    panels[0].set_ylabel(rows["metric"].iloc[0].replace("_", " "))
    legend_below(figure, panels[0])
    pooled = rows[rows["benchmark"] == "all"]
    named = pooled["deployment"] + (" on " + domain(pooled) if domains.nunique() > 1 else "")
    pooled = pooled.assign(named=named)
    parts = [f"{row.named} {percent(row.before)} to {percent(row.after)}" for row in pooled.itertuples()]
    return figure, f"What securing layers costs the customer is the gap between the filled bars: {', '.join(parts)}."


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("scale_cost", "What theft costs, by size and depth", scale_cost, "scale_cost", across=True),
        Figure("agreement", "What each attack recovers", agreement, "fidelity"),
        Figure("training", "Agreement while training", training, "fidelity"),
        Figure("ratios", "The paper's ratio and the ratio above chance", ratios, "fidelity"),
        Figure(
            "recovered_by_depth", "What queries buy, by secured bottom layers", recovered_by_depth, "attack_budgets"
        ),
        # All curves, and all costs with an arrow each: as SVG these are large, or take a second to write.
        Figure("recovered_by_queries", "What queries buy", recovered_by_queries, "attack_budgets", vector=False),
        Figure("cost_by_depth", "What depth costs the attacker", cost_by_depth, "attack_budgets", vector=False),
        Figure("difficulty_prefix", "Distillation difficulty by prefix", difficulty_prefix, "search"),
        Figure("difficulty_single", "Distillation difficulty of single layers", difficulty_single, "search"),
        Figure("difficulty_choices", "Distillation difficulty by size and by start", difficulty_choices, "search"),
        Figure(
            "difficulty_recovered",
            "Does difficulty foretell what an attack gets?",
            difficulty_recovered,
            below="search",
        ),
        Figure("customization", "Customization", customization, "customization"),
        Figure("holding_sets", "What secret parameters buy", holding_sets, "holding", across=True),
        Figure("defences", "What defences cost the customer, and leave the thief", defences, "boundaries", across=True),
        Figure("trade_off", "What securing costs the customer and the thief", trade_off, "trade_off"),
        *(
            Figure(
                plot.__name__,
                f"The paper's Figure {number}: {title}",
                plot,
                below="published",
                folder="paper/",
            )
            for number, title, plot in (
                (3, "two bottom layers or two top ones", figure_3),
                (4, "place and size of what is secured", figure_4),
                (5, "customization by deployment", figure_5),
                (6, "the tolerance of the search", figure_6),
                (7, "security by place", figure_7),
                (8, "security by size", figure_8),
                (9, "does difficulty foretell scores?", figure_9),
                (10, "difficulty and security, set by set", figure_10),
            )
        ),
    )
}
