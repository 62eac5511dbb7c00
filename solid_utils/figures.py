"""The study's figures, drawn from its tables, each with one sentence, filled from the same numbers, on what to see.

PNGs are byte-identical from run to run: fixed size and fonts, no date in the file. Colours are seaborn's colour-blind
palette, and no figure tells things apart by colour alone.
"""

import base64
import html
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from solid_utils import metrics, verdicts
from solid_utils.verdicts import percent

DPI = 120
PALETTE = sns.color_palette("colorblind")
BLUE, ORANGE, GREY = PALETTE[0], PALETTE[1], PALETTE[7]
ATTACKS = {"ft_all": ("o", BLUE), "ft_closed": ("s", PALETTE[2]), "sem": ("^", ORANGE)}
POINTS = {"marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.4}  # of lines with error bars
STYLE = {"font.family": "DejaVu Sans", "hatch.linewidth": 0.6, "grid.linewidth": 0.6, "grid.color": "#e3e3e3"}
Tables = dict[str, pd.DataFrame]  # by name, of one model
Drawing = tuple[Figure, str]  # with the sentence


@dataclass(frozen=True)
class Drawn:
    """A figure as PNG, and the sentence beside it."""

    model: str
    name: str
    png: bytes
    sentence: str

    @property
    def file(self) -> str:
        return f"{self.model}-{self.name}.png"

    @property
    def markup(self) -> str:
        """As HTML that needs no other file."""
        text, picture = html.escape(self.sentence), base64.b64encode(self.png).decode()
        image = f'<img alt="{text}" style="max-width: 100%" src="data:image/png;base64,{picture}">'
        return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def draw(name: str, made: Tables, model: str) -> Drawn | None:
    """One figure of one model from the tables that `tables.make` returns; None where its numbers are missing."""
    mine = {key: table[table["model"] == model] for key, table in made.items()}
    looks = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85) | STYLE
    with matplotlib.rc_context(looks):
        title, function = FIGURES[name]
        drawing = function(mine)
        if drawing is None:
            return None
        figure, sentence = drawing
        figure.suptitle(f"{title} ({model})", fontsize=11, fontweight="bold")
        for axes in figure.axes:
            sns.despine(ax=axes)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return Drawn(model, name, png.getvalue(), sentence)


def canvas(width: float = 7.5, height: float = 4.0, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure in inches, outside pyplot (no window, no global state), and its axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if axes.get_legend():
        axes.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)


def in_percent(*sides) -> None:
    for side in sides:
        side.set_major_formatter(PercentFormatter(1, decimals=0))


def attack_runs(tables: Tables) -> pd.DataFrame:
    """Runs scored before and after; not the victim and guessing."""
    return tables["attacks"].dropna(subset="recovered_share").reset_index(drop=True)


def difficulty_prefix(tables: Tables) -> Drawing | None:
    """DD against the number of secured layers from the bottom, with ceiling, threshold and l*; a panel a start."""
    rows, search = tables["difficulty"], tables["search"].set_index("start")
    prefixes = rows[rows["kind"] == "prefix"].sort_values("layers")
    if prefixes.empty:
        return None
    starts, top = list(prefixes["start"].unique()), (prefixes["dd"] + prefixes["stderr"]).max()
    figure, panels = canvas(width=max(7.5, 1 + 4.2 * len(starts)), columns=len(starts))
    for axes, start in zip(panels, starts, strict=True):
        curve = prefixes[prefixes["start"] == start]
        _errors(axes, [0, *curve["layers"]], [curve["victim"].iloc[0], *curve["dd"]], [0, *curve["stderr"]], "DD")
        if start in search.index:
            found = search.loc[start]
            axes.axhline(found["ceiling"], color="black", linestyle="--", linewidth=1, label="ceiling: all random")
            level = (1 - found["epsilon"]) * found["ceiling"]
            axes.axhline(level, color=ORANGE, linestyle=":", linewidth=1.8, label="(1 - epsilon) x ceiling")
            star = {"marker": "*", "markersize": 15, "color": ORANGE, "markeredgecolor": "black", "linestyle": "none"}
            axes.plot(found["l_star"], found["dd"], label="l*", zorder=5, **star)
        axes.set(title=f"start: {start}", xlabel="secured layers, from the bottom", ylim=(0, 1.05 * top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("DD, nats")
    legend_below(figure, panels[0])
    found = [f"{row['l_star']} (start {start})" for start, row in search.iterrows()]
    return figure, (
        f"At 0 layers stands the victim's loss, {prefixes['victim'].iloc[0]:.2f}; the first point on or above the "
        f"dotted line is where SOLID stops: l* = {' and '.join(found) or 'not searched'}."
    )


def _errors(axes: Axes, x, y, error, label: str) -> None:
    axes.errorbar(x, y, yerr=error, color=BLUE, label=label, **POINTS)


def difficulty_single(tables: Tables) -> Drawing | None:
    """DD of each decoder layer alone; one start, that of the scan."""
    rows = tables["difficulty"]
    singles = rows[rows["kind"] == "single"]
    if singles.empty:
        return None
    singles = singles[singles["start"] == singles["start"].iloc[0]]
    layer = singles["secured"].str.extract(r"(\d+)", expand=False).astype(int)
    singles = singles.assign(layer=layer).sort_values("layer")
    figure, (axes,) = canvas(height=3.6)
    _errors(axes, singles["layer"], singles["dd"], singles["stderr"], f"DD, start {singles['start'].iloc[0]}")
    axes.axhline(singles["victim"].iloc[0], color="black", linestyle="--", linewidth=1, label="victim")
    axes.set(xlabel="the one secured decoder layer", ylabel="DD, nats", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    high, low = singles.loc[singles["dd"].idxmax()], singles.loc[singles["dd"].idxmin()]
    return figure, (
        f"One layer is not like another: layer {high['layer']} alone takes the loss to {high['dd']:.2f}, layer "
        f"{low['layer']} to {low['dd']:.2f}, from the victim's {high['victim']:.2f}."
    )


def agreement(tables: Tables) -> Drawing | None:
    """Agreement with the victim before any query and after the attack, a line a run."""
    runs = attack_runs(tables)
    if runs.empty:
        return None
    figure, (axes,) = canvas(height=1.5 + 0.4 * len(runs))
    start, end, places = runs["agreement_start"], runs["agreement"], runs.index
    axes.hlines(places, start, end, color=GREY, linewidth=2.5, zorder=1)
    hollow = {"color": "white", "edgecolor": ORANGE, "s": 55, "linewidth": 1.8}
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
        f"{percent(top['agreement_start'])} before any query."
    )


def training(tables: Tables) -> Drawing | None:
    """Validation agreement against optimizer steps, a panel an attack; seeds averaged."""
    curves = tables["training"].query("split == 'validation' and metric == 'agreement' and attack != 'none'")
    curves = curves.groupby(["attack", "run", "steps"], sort=False)["value"].mean().reset_index().sort_values("steps")
    if curves.empty:
        return None
    attacks = [attack for attack in ATTACKS if attack in set(curves["attack"])]
    figure, panels = canvas(width=1.2 + 3.2 * len(attacks), height=4.2, columns=len(attacks))
    for axes, attack in zip(panels, attacks, strict=True):
        mine = curves[curves["attack"] == attack]
        order = [run for run in tables["attacks"]["run"] if run in set(mine["run"])]
        looks = {
            "markers": True,
            "dashes": False,
            "palette": PALETTE[: len(order)],
            "hue_order": order,
            "style_order": order,
        }
        sns.lineplot(mine, x="steps", y="value", hue="run", style="run", ax=axes, **looks)
        axes.set(title=attack, xlabel="optimizer steps", ylabel="", ylim=(-0.02, 1.02))
        axes.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        in_percent(axes.yaxis)
    panels[0].set_ylabel("agreement, validation prompts")
    ends = [list(run["value"].tail(2)) for _, run in curves.groupby("run")]
    rising = sum(1 for values in ends if values[-1] - values[0] > 0.01)
    return figure, (
        f"A curve that still climbs at its end was stopped by the budget, not by the defence: {rising} of {len(ends)} "
        "gained more than one point between their last two validations."
    )


RATIOS = {
    "adr_mean_of_ratios": "ADR, mean of ratios (A)",
    "adr_ratio_of_means": "ADR, ratio of means (B)",
    "chance_corrected_ratio": "chance-corrected ratio",
}


def ratios(tables: Tables) -> Drawing | None:
    """The paper's ADR, in both its definitions, beside the chance-corrected ratio, run by run."""
    runs = attack_runs(tables).dropna(subset=list(RATIOS))
    if runs.empty:
        return None
    figure, (axes,) = canvas(height=1.7 + 0.5 * len(runs))
    bars = runs.melt("run", list(RATIOS), var_name="ratio").replace({"ratio": RATIOS})
    colours = [ORANGE, sns.desaturate(ORANGE, 0.3), BLUE]
    sns.barplot(bars, y="run", x="value", hue="ratio", palette=colours, errorbar=None, ax=axes)
    for group, hatch in zip(axes.containers, ("", "//", ".."), strict=True):
        axes.bar_label(group, fmt=lambda value: f"{100 * value:.0f}", fontsize=7.5, padding=2)
        for bar in group:
            bar.set_hatch(hatch)
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
        f"{most} of the victim and {low['run']} {least}."
    )


def customization(tables: Tables) -> Drawing | None:
    """Domain scores before and after customization, by deployment; a panel for each kind of problem."""
    if (rows := tables["customization"]).empty:
        return None
    kinds = ["all", *sorted(set(rows["benchmark"]) - {"all"})]
    figure, panels = canvas(width=1 + 2.6 * len(kinds), height=3.8, columns=len(kinds))
    for axes, kind in zip(panels, kinds, strict=True):
        mine = rows[rows["benchmark"] == kind].reset_index(drop=True)
        bars = (("before", -0.2, GREY, "//", mine["before_stderr"]), ("after", 0.2, BLUE, "", mine["stderr"]))
        for state, shift, colour, hatch, error in bars:
            looks = {"capsize": 3, "color": colour, "hatch": hatch}
            axes.bar(mine.index + shift, mine[state], 0.38, yerr=error, label=state, **looks)
        axes.set_xticks(mine.index, mine["deployment"])
        axes.set(title=f"{kind}, {mine['n'].max():.0f} problems", ylim=(0, 1.02))
        in_percent(axes.yaxis)
    panels[0].set_ylabel(rows["metric"].iloc[0].replace("_", " "))
    legend_below(figure, panels[0])
    pooled = rows[rows["benchmark"] == "all"]
    parts = [f"{row.deployment} {percent(row.before)} to {percent(row.after)}" for row in pooled.itertuples()]
    return figure, f"What securing layers costs the customer is the gap between the filled bars: {', '.join(parts)}."


def difficulty_recovered(tables: Tables) -> Drawing | None:
    """DD of a secured set against agreement after the attack, for the runs whose set has a DD."""
    if (points := verdicts.with_difficulty(attack_runs(tables), tables["difficulty"]).sort_values("agreement")).empty:
        return None
    figure, (axes,) = canvas(height=4.4)
    for attack, (marker, colour) in ATTACKS.items():
        if (mine := points[points["attack"] == attack]).empty:
            continue
        axes.scatter(mine["dd"], mine["agreement"], marker=marker, color=colour, s=70, label=attack, zorder=3)
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
    correlation = metrics.pearson(full["dd"].astype(float), full["agreement"].astype(float)) if len(full) else math.nan
    found = "too few to correlate" if math.isnan(correlation) else f"Pearson {correlation:.2f}"
    return figure, (
        f"n is tiny: {len(points)} runs on {points['secured'].nunique()} secured sets, {len(full)} by FT-all "
        f"({found}); where two attacks meet the same DD, the height between them is what DD does not see."
    )


FIGURES: dict[str, tuple[str, Callable[[Tables], Drawing | None]]] = {
    "difficulty_prefix": ("Distillation difficulty by prefix", difficulty_prefix),
    "difficulty_single": ("Distillation difficulty of single layers", difficulty_single),
    "agreement": ("What each attack recovers", agreement),
    "training": ("Agreement while training", training),
    "ratios": ("The paper's ratio and the ratio above chance", ratios),
    "customization": ("Customization", customization),
    "difficulty_recovered": ("Does difficulty foretell what an attack gets?", difficulty_recovered),
}
