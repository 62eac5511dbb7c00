"""What a results folder holds -> the study's tables, with no model."""

import re

import numpy as np
import pandas as pd

from solid_utils import metrics
from solid_utils.results import Results, layers_of

NOT_BENCHMARKS = ("fidelity", "customization")  # domains whose rows are other measures
SIGNAL_RULE = "A benchmark counts where the victim's score exceeds chance by more than two standard errors."
NAN = float("nan")


def make(results: Results) -> dict[str, pd.DataFrame]:
    """Every table by name, as it is written to tables/NAME.csv (the claims are added by `verdicts`)."""
    rule = benchmark_rule(results)
    return {
        "attacks": attack_table(results, rule),
        "benchmarks": benchmark_table(results, rule),
        "difficulty": difficulty_table(results),
        "search": results.searches,
        "customization": customization_table(results),
        "training": training_table(results),
    }


def outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores before any step (`state` "start") and after the last one ("end"), one row a benchmark and metric.

    Seeds are averaged; the standard error adds that of the items, which all seeds share, and that of the seeds.
    """
    last = scores.groupby(["model", "run", "seed"])["steps"].transform("max")
    states = pd.concat(
        [scores[scores["steps"] == 0].assign(state="start"), scores[scores["steps"] == last].assign(state="end")]
    )
    keys = ["model", "run", "state", "benchmark", "domain", "shots", "metric", "n", "chance"]
    pooled = states.groupby(keys, sort=False, dropna=False).agg(
        value=("value", "mean"), items=("stderr", "mean"), between=("value", "sem"), seeds=("seed", "nunique")
    )
    pooled["stderr"] = np.hypot(pooled.pop("items").astype(float), pooled.pop("between").fillna(0).astype(float))
    return pooled.reset_index()


def benchmark_rule(results: Results) -> pd.DataFrame:
    """The victim's benchmarks: does each count (SIGNAL_RULE), and if not, why; one row a model and benchmark."""
    table = outcomes(results.victims)
    table = table[(table["state"] == "end") & ~table["domain"].isin(NOT_BENCHMARKS)]
    table = table.rename(columns={"value": "victim", "stderr": "victim_stderr"})
    table["counts"] = metrics.has_signal(table["victim"], table["victim_stderr"], table["chance"]).astype(bool)
    table["reason"] = [
        ""
        if row.counts
        else f"victim {row.victim:.3f}, chance {row.chance:.3f}, two standard errors {2 * row.victim_stderr:.3f}"
        for row in table.itertuples()
    ]
    return table.drop(columns=["run", "state", "seeds"]).reset_index(drop=True)


def ratios(scores: pd.Series, rule: pd.DataFrame) -> dict[str, float]:
    """Both ADRs and the chance-corrected ratio of benchmark scores, over the benchmarks that count.

    `scores` is indexed by benchmark, `rule` is one model's benchmark_rule. nan without a benchmark that counts.
    Raises StudyError when a benchmark that counts was not scored: an average must not shrink silently.
    """
    counted = rule[rule["counts"]].set_index("benchmark")
    if counted.empty or scores.empty:
        return dict.fromkeys(["adr_mean_of_ratios", "adr_ratio_of_means", "chance_corrected_ratio"], NAN)
    victim, chance = counted["victim"].astype(float), counted["chance"].astype(float)
    replica = scores[scores.index.isin(counted.index)]
    return {
        "adr_mean_of_ratios": metrics.adr_mean_of_ratios(replica, victim),
        "adr_ratio_of_means": metrics.adr_ratio_of_means(replica, victim),
        "chance_corrected_ratio": metrics.chance_corrected_ratio(replica, victim, chance),
    }


def attack_table(results: Results, rule: pd.DataFrame) -> pd.DataFrame:
    """One row an attack run: what was secured, what the attacker paid, what it got; beside the victim and guessing."""
    scores, victims, rows = outcomes(results.attacks), outcomes(results.victims), []
    for model in results.models:
        counted = rule[rule["model"] == model]
        own = victims[(victims["model"] == model) & (victims["state"] == "end")]
        if not own.empty:
            rows.append({"model": model, "run": "victim"} | _measures(own, counted))
            guessing = counted.set_index("benchmark")["chance"].astype(float)
            rows.append({"model": model, "run": "guessing"} | ratios(guessing, counted))
        for run, of_run in scores[scores["model"] == model].groupby("run", sort=False):
            start = _measures(of_run[of_run["state"] == "start"], counted)
            end = _measures(of_run[of_run["state"] == "end"], counted)
            row = _run_facts(results, model, run) | end
            row["agreement_start"], row["chance_corrected_start"] = start["agreement"], start["chance_corrected_ratio"]
            row["recovered_share"] = metrics.recovered_share(end["agreement"], start["agreement"])
            row["benchmarks"] = int(counted["counts"].sum())
            rows.append(row)
    return pd.DataFrame(rows, columns=ATTACK_TABLE)


ATTACK_TABLE = [
    *["model", "run", "deployment", "secured", "share", "attack", "view", "labels", "start", "recipe", "tier", "seeds"],
    *["steps", "samples", "queries", "tokens", "flops", "agreement_start", "agreement", "agreement_stderr"],
    *["recovered_share", "kl", "cross_entropy", "benchmarks", "adr_mean_of_ratios", "adr_ratio_of_means"],
    *["chance_corrected_start", "chance_corrected_ratio"],
]


def _measures(scores: pd.DataFrame, rule: pd.DataFrame) -> dict[str, float]:
    """Fidelity and ratios of one run in one state; nan for what was not measured."""
    fidelity = scores[scores["domain"] == "fidelity"].set_index("metric")
    measured = {name: _at(fidelity["value"], name) for name in ("agreement", "kl", "cross_entropy")}
    measured["agreement_stderr"] = _at(fidelity["stderr"], "agreement")
    benchmarks = scores[~scores["domain"].isin(NOT_BENCHMARKS)].set_index("benchmark")["value"].astype(float)
    return measured | ratios(benchmarks, rule)


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
    """Every run's score on every benchmark, at the start and at the end, beside victim and chance."""
    runs = pd.concat([results.attacks, results.customizations], ignore_index=True)
    scores = outcomes(runs)
    scores = scores[~scores["domain"].isin(NOT_BENCHMARKS)][["model", "run", "state", "benchmark", "value", "stderr"]]
    victims = rule.rename(columns={"victim": "value", "victim_stderr": "stderr"}).assign(run="victim", state="end")
    scores = pd.concat([victims[scores.columns], scores], ignore_index=True)
    return rule.merge(scores, on=["model", "benchmark"], how="left")


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


def customization_table(results: Results) -> pd.DataFrame:
    """Domain scores before and after customization, and the gap to the fully open deployment; "all" pools the kinds."""
    scores = outcomes(results.customizations)
    scores = scores[scores["domain"] == "customization"]
    pooled = [_pool(rows) for _, rows in scores.groupby(["model", "run", "metric", "state"], sort=False)]
    scores = pd.concat([scores, pd.DataFrame(pooled, columns=scores.columns)], ignore_index=True)
    keys = ["model", "run", "benchmark", "metric", "n"]
    before, after = (scores[scores["state"] == state].set_index(keys) for state in ("start", "end"))
    table = after[["value", "stderr"]].rename(columns={"value": "after"}).join(before["value"].rename("before"))
    table["before_stderr"] = before["stderr"]
    facts = results.customizations.drop_duplicates(["model", "run"])[
        ["model", "run", "deployment", "secured", "recipe"]
    ]
    table = facts.merge(table.reset_index(), on=["model", "run"])
    table["gain"] = table["after"] - table["before"]
    opened = table[table["deployment"] == "fully_open"][["model", "benchmark", "metric", "after", "stderr"]]
    table = table.merge(opened, on=["model", "benchmark", "metric"], how="left", suffixes=("", "_open"))
    table["gap_to_fully_open"] = table["after"] - table.pop("after_open")
    table["gap_stderr"] = np.hypot(table["stderr"].astype(float), table.pop("stderr_open").astype(float))
    table.loc[table["deployment"] == "fully_open", ["gap_to_fully_open", "gap_stderr"]] = NAN
    return table


def _pool(rows: pd.DataFrame) -> dict:
    """All kinds of problems together: mean and standard error over all n problems."""
    total = rows["n"].sum()
    error = np.sqrt(((rows["n"] * rows["stderr"]) ** 2).sum()) / total
    return rows.iloc[0].to_dict() | {
        "benchmark": "all",
        "n": total,
        "value": (rows["n"] * rows["value"]).sum() / total,
        "stderr": error,
    }


def training_table(results: Results) -> pd.DataFrame:
    """Training curves of all runs, one row a step, split and metric."""
    columns = ["model", "run", "deployment", "attack", "seed", "steps", "queries", "split", "metric", "value"]
    return results.curves[columns]
