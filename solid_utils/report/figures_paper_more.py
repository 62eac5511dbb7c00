"""The paper's figures 5, 6, 9 and 10 redrawn, ours beside them: customization, tolerance, distillation difficulty."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from solid_utils.metrics import intervals, metrics
from solid_utils.paper import paper
from solid_utils.report import figures_customers, paper_numbers
from solid_utils.report.figures_paper import ABOVE, OURS, SMALL, bars, line, named, not_run, panels
from solid_utils.report.paper_numbers import ADR, DD
from solid_utils.report.plotting import ATTACKS, BLUE, GREY, ORANGE, Plot, Tables, in_percent
from solid_utils.report.rules_deployment import l_star
from solid_utils.report.wording import correlated, percent

TOLERANCES = np.arange(1, 21) / 20  # the paper's: 0.05 to 1 in steps of 0.05 (section B.4)


def figure_5(tables: Tables) -> Plot | None:
    """Scores after customization by task and deployment, five models (Tables 17 to 21), and our mathematics."""
    figure, axes = panels(2, 3, width=4.6, height=3.0)
    worst = {}
    for one, (model, table) in zip(axes, paper_numbers.CUSTOMIZED.items(), strict=False):
        scores = paper_numbers.customized(table)
        bars(one, scores, "score (%)")
        one.tick_params(axis="x", labelrotation=25)
        one.set(title=f"paper: {model} (Table {table})", ylim=(0, 102))
        worst[model] = (scores["SOLID"] - scores["Fully-Open"]).min()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8.5, frameon=False
    )
    rows = figures_customers.mathematics(tables)
    kept = figures_customers.cells(tables, "deployments", "subjects", "rest")
    axes[5].set_title("here: customization cells" if len(kept) else "here: mathematics")
    if len(kept):
        figures_customers.deployments(axes[5], kept)
        axes[5].legend(**SMALL | {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 4})
    elif rows.empty:
        not_run(axes[5], "figure_5")
    else:
        error = {"yerr": 100 * rows["stderr"], "capsize": 3}
        axes[5].bar(rows.index, 100 * rows["after"], 0.6, color=BLUE, **error)
        axes[5].set_xticks(rows.index, rows["deployment"])
        axes[5].set(ylabel=f"{rows['metric'].iloc[0].replace('_', ' ')} (%)", ylim=(0, 102))
    told = ", ".join(f"{row.deployment} {percent(row.after)}" for row in rows.itertuples()) or "not run"
    told = f"{told}. {figures_customers.said(kept, 'deployment')}"
    told += figures_customers.missing(tables, "deployments", "subjects", "rest")
    model = min(worst, key=worst.get)
    return figure, (
        f"Paper: SOLID's bar against fully open, {worst[model]:.1f} points at worst ({model}); alignment, of ten "
        f"points, is drawn times ten. Here, mathematics of the default study: {told}"
    )


def figure_6(tables: Tables) -> Plot | None:
    """Layers that SOLID secures by tolerance, from our DD curve. The paper's curves stand in its drawing alone."""
    prefixes = tables["difficulty"].query("kind == 'prefix'").sort_values("depth")
    if prefixes.empty or prefixes["ceiling"].isna().any():
        return None
    figure, (axes,) = panels(1, 1, width=6.0, height=3.4)
    stops = [l_star(prefixes, tolerance) for tolerance in TOLERANCES]
    axes.plot(TOLERANCES, stops, marker="o", color=BLUE, label="DD as the paper defines it")
    cooled = prefixes.dropna(subset="calibrated").assign(dd=lambda rows: rows["calibrated"])
    if len(cooled):
        look = {"marker": "s", "color": ORANGE, "markerfacecolor": "white", "linestyle": "--"}
        calibrated = [l_star(cooled, tolerance) for tolerance in TOLERANCES]
        axes.plot(TOLERANCES, calibrated, label="one temperature fitted (few depths)", **look)
    axes.set(xlabel="tolerance", ylabel="layers secured", title="here", yscale="log")
    most = int(prefixes["depth"].max())
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50) if tick <= most]
    axes.set_yticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_ylim(0.8, 1.3 * most)
    axes.legend(**SMALL)
    ends = f"{stops[0]} layer(s) at every one" if len(set(stops)) == 1 else f"{min(stops)} to {max(stops)} layers"
    return figure, (
        "The paper's curves, of the ratio above fully secured, stand in its drawing alone and are left out. Here the "
        f"search ends at {ends} of {len(stops)} tolerances."
    )


def figure_9(tables: Tables) -> Plot | None:
    """Correlations of DD by domain (Table 11), ADR against DD for two models (Tables 26, 27, 42), and our SEM."""
    figure, axes = panels(1, 3, width=4.0, height=3.5)
    printed = paper.published_table(11)
    for model, mine in printed.groupby("model", sort=False):
        line(axes[0], mine["domain"], mine["pearson"], model, linestyle="")
    axes[0].set(title="paper: Pearson's (Table 11)", ylabel="DD with scores", ylim=(-1.02, -0.5))
    axes[0].tick_params(axis="x", labelrotation=25)
    axes[0].legend(**SMALL)
    for model in ("Llama2-7B", "OPT-350M"):
        placed = paper_numbers.by_place(model)
        line(axes[1], placed[DD], placed[ADR], model, linestyle="")
    axes[1].set(title="paper", xlabel="distillation difficulty (nats)", ylabel="ADR (%)")
    axes[1].legend(**SMALL)
    weak = metrics.spearman(placed[DD], placed[ADR])
    axes[2].set_title("here")
    told = ours_by_difficulty(axes[2], tables, "figure_9", "above_floor_apart", ["sem"])
    return figure, (
        f"Paper: every coefficient of Table 11 lies at {printed['pearson'].max():.2f} or below; over the sets by place "
        f"OPT-350M's rank correlation is {weak:.2f}. {told}"
    )


def figure_10(tables: Tables) -> Plot | None:
    """ADR above fully secured against DD, all sets of four models, and ours by agreement and by KL."""
    figure, axes = panels(2, 3, width=3.9, height=3.0)
    told = []
    for one, model in zip(axes, paper_numbers.BY_SHARE, strict=False):
        sets = paper_numbers.every_set(model)
        line(one, sets[DD], sets["above"], model, linestyle="")
        rank = metrics.spearman(sets[DD], sets[ADR])
        told.append(f"{model} {rank:.2f}")
        one.set(title=f"paper: {model}", xlabel="distillation difficulty (nats)", ylabel=ABOVE)
    axes[4].set_title("here, agreement")
    axes[5].set_title("here, KL")
    attacks = ["ft_all", "sem", "stitch"]
    ours = ours_by_difficulty(axes[4], tables, "figure_10", "above_floor_apart", attacks)
    ours_by_difficulty(axes[5], tables, "figure_10", "kl_apart", attacks)
    return figure, f"Paper, rank correlations of DD with ADR over all sets: {', '.join(told)}. {ours}"


def ours_by_difficulty(axes: Axes, tables: Tables, key: str, measure: str, attacks: list[str]) -> str:
    """Ends of these attacks against the DD of their sets, one budget an attack; a sentence on the rank correlations."""
    everything = pd.Series(True, index=tables["evidence"].index)
    ends = paper_numbers.families(tables, everything & tables["evidence"]["attack"].isin(attacks))
    ends = paper_numbers.with_difficulty(ends, tables["difficulty"])
    told = []
    for attack, mine in ends.groupby("attack", sort=False):
        if mine["secured"].nunique() < 3:
            continue
        marker, colour = ATTACKS.get(attack, ("X", GREY))
        axes.scatter(mine["dd"], mine[measure], 28, marker=marker, color=colour, label=named(mine))
        rank = intervals.spearman(mine["dd"].astype(float), mine[measure])
        told.append(f"{attack} {correlated(rank)} over {len(mine)} sets")
    if not told:
        not_run(axes, key)
        return "Here no attack ran on three sets with a difficulty."
    axes.set(
        xlabel="distillation difficulty (nats)", ylabel=OURS if measure != "kl_apart" else "KL, C4 and code (nats)"
    )
    if measure != "kl_apart":
        in_percent(axes.yaxis)
    axes.legend(**SMALL)
    return f"Here DD with what is above the floor: {', '.join(told)}."
