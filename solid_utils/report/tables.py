"""What a results folder holds -> the study's tables, with no model."""

import re
from functools import partial

import pandas as pd

from solid_utils.core import numbers
from solid_utils.metrics import metrics
from solid_utils.metrics.attack_cost import cost_table, costs, layers_of
from solid_utils.metrics.intervals import Draws, covers
from solid_utils.report.ratios import (
    EVALUATION,
    NOT_BENCHMARKS,
    OVER_BENCHMARKS,
    Resampled,
    Yardstick,
    benchmark_rule,
    ends,
    outcomes,
    resampled,
    with_ends,
    yardstick,
)
from solid_utils.report.results import Results
from solid_utils.report.tables_cost import budget_table, of_one_start, point_table, rank_table
from solid_utils.report.tables_customization import customization_table
from solid_utils.report.tables_grid import cell_table, placement_table, recipe_table, tuned_table

NAN = float("nan")


def make(results: Results) -> dict[str, pd.DataFrame]:
    """Every table by name, as it is written to tables/NAME.csv (the claims are added by `verdicts`)."""
    rule, draws = benchmark_rule(results), resampled(results)
    difficulty, points = difficulty_table(results), point_table(results)
    cost = cost_table(costs(points))
    return {
        "attacks": attack_table(results, rule, draws),
        "fidelity": fidelity_table(results, draws),
        "benchmarks": benchmark_table(results, rule),
        "ratios": ratio_table(results, rule, draws),
        "attack_points": points,
        "attack_cost": cost,
        "attack_budgets": budget_table(points),
        "difficulty_ranks": rank_table(cost, difficulty),
        "grid_cells": cell_table(results),
        "grid_recipes": recipe_table(results, difficulty),
        "grid_tuned": tuned_table(results),
        "grid_placement": placement_table(results, of_one_start(difficulty)),
        "leaks": results.leaks,
        "difficulty": difficulty,
        "search": results.searches,
        "customization": customization_table(results, draws),
        "training": training_table(results),
    }


def attack_table(results: Results, rule: pd.DataFrame, draws: Resampled) -> pd.DataFrame:
    """One row an attack run: what was secured, what the attacker paid, what it got; beside the victim, guessing and,
    where one was measured, the empirical floor. NAME_low and NAME_high are 95 % intervals."""
    scores, victims, rows = outcomes(results.attacks), outcomes(results.victims), []
    for model in results.models:
        measure, of_model = yardstick(model, rule, draws), scores[scores["model"] == model]
        own = victims[(victims["model"] == model) & (victims["state"] == "end")]
        if not own.empty:
            rows.append({"model": model, "run": "victim"} | _fidelity(own) | measure.ratios(_benchmarks(own)))
            rows.append({"model": model, "run": "guessing"} | measure.ratios(measure.counted["chance"]))
            if not measure.counted["floor"].equals(measure.counted["chance"]):
                rows.append({"model": model, "run": "floor"} | measure.ratios(measure.counted["floor"]))
        for run in of_model["run"].unique():
            row = _run_facts(results, model, run) | {"benchmarks": len(measure.counted)}
            row |= _attack_row(of_model, run, measure, draws)
            pair = run, _fully_secured(results.attacks, model, row["attack"])
            ended = [_benchmarks(_state(of_model, name, "end")) for name in pair]
            rows.append(row | measure.delta_adr(*ended, *[draws.get((model, name, "end")) for name in pair]))
    return pd.DataFrame(rows, columns=ATTACK_TABLE)


ATTACK_TABLE = [
    *["model", "run", "deployment", "secured", "share", "attack", "view", "labels", "start", "recipe", "tier", "seeds"],
    *["steps", "samples", "queries", "tokens", "flops", "agreement_start", "agreement", "agreement_stderr"],
    *with_ends("recovered_share"),
    *["kl", "cross_entropy", "benchmarks"],
    *with_ends("adr_mean_of_ratios", "adr_ratio_of_means", "delta_adr"),
    *with_ends("adr_domains_mean_of_ratios", "adr_domains_ratio_of_means"),
    "chance_corrected_start",
    *with_ends("chance_corrected_ratio"),
    "interval_covers",
]


def _attack_row(scores: pd.DataFrame, run: str, measure: Yardstick, draws: Resampled) -> dict:
    """What one attack got: fidelity and ratios at its end, and what they were at its start."""
    start, end = _state(scores, run, "start"), _state(scores, run, "end")
    drawn = [draws.get((measure.model, run, state)) for state in ("start", "end")]
    first, last = _fidelity(start), _fidelity(end)
    row = last | measure.ratios(_benchmarks(end), drawn[1])
    row["agreement_start"] = first["agreement"]
    row["chance_corrected_start"] = measure.ratios(_benchmarks(start))["chance_corrected_ratio"]
    row["recovered_share"] = numbers.recovered_share(last["agreement"], first["agreement"])
    row |= ends("recovered_share", _recovered, pd.Index([EVALUATION]), *drawn)
    return row | {"interval_covers": covers(drawn[1]) if drawn[1] else ""}


def _recovered(start: pd.DataFrame, end: pd.DataFrame) -> pd.Series:
    return numbers.recovered_share(end.loc[EVALUATION], start.loc[EVALUATION])


def _fully_secured(attacks: pd.DataFrame, model: str, attack: str) -> str | None:
    """The fully secured deployment's run of the same attack, else its FT-all run; None without either."""
    runs = attacks[(attacks["model"] == model) & (attacks["deployment"] == "fully_secured")]
    runs = runs.drop_duplicates("attack").set_index("attack")["run"]
    return runs.get(attack, runs.get("ft_all"))


def _state(scores: pd.DataFrame, run: str | None, state: str) -> pd.DataFrame:
    return scores[(scores["run"] == run) & (scores["state"] == state)]


def _fidelity(scores: pd.DataFrame) -> dict[str, float]:
    """Fidelity on held-out prompts of the attack's kind; nan for what was not measured."""
    fidelity = scores[(scores["domain"] == "fidelity") & (scores["benchmark"] == EVALUATION)].set_index("metric")
    measured = {name: _at(fidelity["value"], name) for name in ("agreement", "kl", "cross_entropy")}
    return measured | {"agreement_stderr": _at(fidelity["stderr"], "agreement")}


def _benchmarks(scores: pd.DataFrame) -> pd.Series:
    return scores[~scores["domain"].isin(NOT_BENCHMARKS)].set_index("benchmark")["value"].astype(float)


def _at(values: pd.Series, key: str) -> float:
    return float(values.get(key, NAN))


def _run_facts(results: Results, model: str, run: str) -> dict:
    """What was run and at which cost, from the run's last rows; `samples` counts every sample of every step."""
    rows = results.attacks[(results.attacks["model"] == model) & (results.attacks["run"] == run)]
    last = rows.loc[rows["steps"].idxmax()]
    facts = {name: last[name] for name in ATTACK_TABLE if name in rows.columns}
    batch = re.search(r"batch (\d+)", last["recipe"])
    return facts | {
        "share": share(results, model, last["secured"]),
        "seeds": rows["seed"].nunique(),
        "samples": int(last["steps"]) * int(batch[1]) if batch else NAN,
    }


def share(results: Results, model: str, secured: str) -> float:
    """Share of the parameters that a secured set holds, from the prefix sets' shares; nan where those are missing.

    Counts decoder layers: SAP's final norm is left out, a few hundred parameters of millions.
    """
    if secured in ("all", "none"):
        return 1.0 if secured == "all" else 0.0
    prefixes = results.difficulty[(results.difficulty["model"] == model) & (results.difficulty["kind"] == "prefix")]
    shares = {0: 0.0} | dict(zip(prefixes["layers"].astype(int), prefixes["share"].astype(float), strict=True))
    layers = layers_of(secured)
    return shares.get(layers[-1] + 1, NAN) - shares.get(layers[0], NAN) if layers else NAN


def benchmark_table(results: Results, rule: pd.DataFrame) -> pd.DataFrame:
    """Every run's score on every benchmark, at the start and at the end, beside victim, chance and floor."""
    runs = pd.concat([results.attacks, results.customizations], ignore_index=True)
    scores = outcomes(runs)
    scores = scores[~scores["domain"].isin(NOT_BENCHMARKS)][["model", "run", "state", "benchmark", "value", "stderr"]]
    victims = rule.rename(columns={"victim": "value", "victim_stderr": "stderr"}).assign(run="victim", state="end")
    scores = pd.concat([victims[scores.columns], scores], ignore_index=True)
    return rule.merge(scores, on=["model", "benchmark"], how="left")


def ratio_table(results: Results, rule: pd.DataFrame, draws: Resampled) -> pd.DataFrame:
    """How much of the victim each attack keeps: by domain (benchmark "all") and by benchmark, of those that count.

    Over a single benchmark both ADRs are its distillation ratio.
    """
    rows, scores = [], outcomes(results.attacks)
    for (model, run), of_run in scores[scores["state"] == "end"].groupby(["model", "run"], sort=False):
        measure, own, replica = yardstick(model, rule, draws), draws.get((model, run, "end")), _benchmarks(of_run)
        for domain, names in measure.counted.groupby("domain", sort=False).groups.items():
            for label, part in [("all", list(names))] + [(name, [name]) for name in names]:
                facts = {"model": model, "run": run, "domain": domain, "benchmark": label}
                rows.append(facts | measure.of(part).ratios(replica, own, OVER_BENCHMARKS))
    return pd.DataFrame(rows, columns=["model", "run", "domain", "benchmark", *with_ends(*OVER_BENCHMARKS)])


def fidelity_table(results: Results, draws: Resampled) -> pd.DataFrame:
    """Fidelity of every replica to the victim on each set of held-out prompts, and on all of them together ("all")."""
    scores, rows = outcomes(results.attacks), []
    scores = scores[scores["domain"] == "fidelity"]
    for (model, run), of_run in scores.groupby(["model", "run"], sort=False):
        drawn = [draws.get((model, run, state)) for state in ("start", "end")]
        sets = list(of_run["benchmark"].unique())
        for name, members in [(name, [name]) for name in sets] + ([("all", sets)] if len(sets) > 1 else []):
            found = _fidelity_on(of_run[of_run["benchmark"].isin(members)], pd.Index(members), drawn)
            rows.append({"model": model, "run": run, "prompts": name} | found)
    return pd.DataFrame(rows, columns=FIDELITY_TABLE)


MEASURES = ("kl", "cross_entropy", "greedy_match", "common_prefix")
FIDELITY_TABLE = [
    *["model", "run", "prompts", "tokens", "agreement_start"],
    *with_ends("agreement", "recovered_share"),
    *MEASURES,
]


def _fidelity_on(scores: pd.DataFrame, sets: pd.Index, drawn: list[Draws | None]) -> dict[str, float]:
    """Fidelity pooled over some sets of prompts; nan for a metric that was not taken on all of them."""

    def pooled(metric: str, state: str = "end") -> float:
        rows = scores[(scores["metric"] == metric) & (scores["state"] == state)].set_index("benchmark")
        return metrics.pooled_fidelity(rows["value"], rows["n"]) if sets.isin(rows.index).all() else NAN

    tokens = scores[(scores["metric"] == "agreement") & (scores["state"] == "end")].set_index("benchmark")["n"]
    on_all = partial(metrics.pooled_fidelity, n=tokens)
    found = {"tokens": tokens.sum(), "agreement_start": pooled("agreement", "start")}
    found |= {name: pooled(name) for name in ("agreement", *MEASURES)}
    found["recovered_share"] = numbers.recovered_share(found["agreement"], found["agreement_start"])
    found |= ends("agreement", on_all, sets, drawn[1])
    return found | ends("recovered_share", lambda a0, a: numbers.recovered_share(on_all(a), on_all(a0)), sets, *drawn)


def difficulty_table(results: Results) -> pd.DataFrame:
    """DD of every secured set, mean over seeds, beside the victim's loss and the ceiling; one row a set and start."""
    rows = results.difficulty.drop_duplicates(["model", "kind", "secured", "start", "seed"])
    seeds = (
        rows[rows["seed"] != "mean"].groupby(["model", "kind", "secured", "start"])["seed"].nunique().rename("seeds")
    )
    table = rows[rows["seed"] == "mean"].merge(seeds.reset_index(), on=seeds.index.names, how="left")
    ceilings = table[table["kind"] == "all"].set_index(["model", "start"])["dd"]
    victims = table[table["kind"] == "empty"].groupby("model")["dd"].first()
    table["victim"] = [_at(victims, model) for model in table["model"]]
    table["ceiling"] = [_at(ceilings, key) for key in zip(table["model"], table["start"], strict=True)]
    table["share_of_ceiling"] = table["dd"].astype(float) / table["ceiling"]
    chosen = set(results.searches[["model", "start", "l_star"]].itertuples(index=False, name=None))
    table["is_solid"] = [
        row.kind == "prefix" and (row.model, row.start, row.layers) in chosen for row in table.itertuples()
    ]
    table = table.assign(order=table["secured"].map(lambda secured: (layers_of(secured) or (0,))[0]))
    table = table.sort_values(["model", "start", "kind", "layers", "order"], kind="stable")
    return table.drop(columns=["seed", "order"]).reset_index(drop=True)


def training_table(results: Results) -> pd.DataFrame:
    """Training curves of all runs, one row a step, split and metric."""
    columns = ["model", "run", "deployment", "attack", "seed", "steps", "queries", "split", "metric", "value"]
    return results.curves[columns]
