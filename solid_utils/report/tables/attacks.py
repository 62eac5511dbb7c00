"""What each attack recovers: one row a run, its fidelity on each set of prompts, its training curve."""

from functools import partial

import pandas as pd

from solid_utils.core import numbers, schema
from solid_utils.metrics import metrics
from solid_utils.metrics.intervals import RULE, Resamples, covers
from solid_utils.report import floors
from solid_utils.report.ratios import (
    EVALUATION,
    Resampled,
    Yardstick,
    benchmark_scores,
    ends,
    outcomes,
    with_ends,
    yardstick,
)
from solid_utils.report.results import Results
from solid_utils.report.table import Columns, Context, Section, Table, cell, in_columns
from solid_utils.report.tables import evidence
from solid_utils.report.wording import interval_note, percent

NAN = float("nan")


def attack_table(context: Context) -> pd.DataFrame:
    """One row an attack run: what was secured, what the attacker paid, what it got; beside the victim, guessing and,
    where one was measured, the empirical floor. NAME_low and NAME_high are 95 % intervals."""
    results, resamples = context.results, context.resamples
    scores, victims, rows = outcomes(results.attacks), outcomes(results.victims), []
    for model in results.models:
        measure, of_model = yardstick(model, context.rule, resamples), scores[scores["model"] == model]
        own = victims[(victims["model"] == model) & (victims["state"] == "end")]
        if not own.empty:
            rows.append({"model": model, "run": "victim"} | _fidelity(own) | measure.ratios(benchmark_scores(own)))
            rows.append({"model": model, "run": "guessing"} | measure.ratios(measure.counted["chance"]))
            if not measure.counted["floor"].equals(measure.counted["chance"]):  # else it is the row before
                rows.append({"model": model, "run": "floor"} | measure.ratios(measure.counted["floor"]))
        for run in of_model["run"].unique():
            row = _run_facts(results, model, run) | {"benchmarks": len(measure.counted)}
            row |= _attack_row(of_model, run, measure, resamples)
            row |= _above_floor(_state(of_model, run, "end"), results.floors, model, row["tier"])
            pair = run, _fully_secured(results.attacks, model, row["attack"])
            ended = [benchmark_scores(_state(of_model, name, "end")) for name in pair]
            rows.append(row | measure.delta_adr(*ended, *[resamples.get((model, name, "end")) for name in pair]))
    return pd.DataFrame(rows, columns=ATTACK_TABLE)


ATTACK_TABLE = [
    *["model", "run", "deployment", *schema.SECURED, "attack", "view", "labels", "start", "recipe", "tier", "seeds"],
    *["steps", "samples", "queries", "tokens", "flops", "agreement_start", "agreement", "agreement_stderr"],
    *with_ends("recovered_share"),
    *["floor", "above_floor", "agreement_apart", "floor_apart", "above_floor_apart"],
    *["kl", "cross_entropy", "benchmarks"],
    *with_ends("adr_mean_of_ratios", "adr_ratio_of_means", "delta_adr"),
    *with_ends("adr_domains_mean_of_ratios", "adr_domains_ratio_of_means"),
    "chance_corrected_start",
    *with_ends("chance_corrected_ratio"),
    "interval_covers",
]


def _attack_row(scores: pd.DataFrame, run: str, measure: Yardstick, resamples: Resampled) -> dict:
    """What one attack got: fidelity and ratios at its end, and what they were at its start."""
    start, end = _state(scores, run, "start"), _state(scores, run, "end")
    own = [resamples.get((measure.model, run, state)) for state in ("start", "end")]  # as `_recovered` takes them
    first, last = _fidelity(start), _fidelity(end)
    row = last | measure.ratios(benchmark_scores(end), own[1])
    row["agreement_start"] = first["agreement"]
    # What the open part does by itself was never protected, so the end is read beside the start.
    row["chance_corrected_start"] = measure.ratios(benchmark_scores(start))["chance_corrected_ratio"]
    row["recovered_share"] = numbers.recovered_share(last["agreement"], first["agreement"])
    row |= ends("recovered_share", _recovered, pd.Index([EVALUATION]), *own)
    return row | {"interval_covers": covers(own[1]) if own[1] else ""}


def _above_floor(end: pd.DataFrame, counted: pd.DataFrame, model: str, tier: str) -> dict[str, float]:
    """Agreement on texts apart from the attack's kind, the floors of both, and what stands above them."""
    row = {"agreement_apart": floors.on_sets(end, "agreement", floors.APART)}
    own = floors.on_sets(end, "agreement", floors.OWN)
    for suffix, agreement, sets in (("", own, floors.OWN), ("_apart", row["agreement_apart"], floors.APART)):
        row[f"floor{suffix}"] = floors.floor_on(counted, model, tier, sets)
        row[f"above_floor{suffix}"] = floors.above(agreement, row[f"floor{suffix}"])
    return row


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


def _at(values: pd.Series, key: str) -> float:
    return float(values.get(key, NAN))


def _run_facts(results: Results, model: str, run: str) -> dict:
    """What was run and at which cost, from the run's last rows."""
    rows = results.attacks[(results.attacks["model"] == model) & (results.attacks["run"] == run)]
    last = rows.loc[rows["steps"].idxmax()]
    facts = {name: last[name] for name in ATTACK_TABLE if name in rows.columns}
    return facts | {"seeds": rows["seed"].nunique()}


ATTACK_COLUMNS: Columns = {
    "run": ("run", "text"),
    "secured": ("secured", "text"),
    "queries": ("queries", "count"),
    "agreement_start": ("start %", "percent"),
    "agreement": ("after %", "percent"),
    "recovered_share": ("recov. %", "percent"),
    "adr_mean_of_ratios": ("ADR A %", "percent"),
    "above_floor_apart": ("above floor %", "percent"),
    "chance_corrected_ratio": ("corr. %", "percent"),
    "|": None,  # what follows does not fit the 120 columns of a terminal
    "agreement_apart": ("other texts %", "percent"),
    "floor_apart": ("floor there %", "percent"),
    "floor": ("floor own kind %", "percent"),
    "above_floor": ("above it %", "percent"),
    "adr_ratio_of_means": ("ADR B %", "percent"),
    "adr_domains_mean_of_ratios": ("ADR C %", "percent"),
    "adr_domains_ratio_of_means": ("ADR D %", "percent"),
    "delta_adr": ("delta ADR", "percent"),
    "kl": ("KL", "number"),
    "cross_entropy": ("CE", "number"),
    "share": ("share %", "percent"),
    "steps": ("steps", "count"),
    "deployment": ("deployment", "text"),
    "attack": ("attack", "text"),
    "view": ("attacker sees", "text"),
    "seeds": ("seeds", "count"),
}


def _read_attacks(rows: pd.DataFrame) -> str:
    runs = rows[rows["recovered_share"].notna()]
    if runs.empty:
        return "no attack has run."
    low, high = runs.loc[runs["recovered_share"].idxmin()], runs.loc[runs["recovered_share"].idxmax()]
    most, least = percent(high["recovered_share"]), percent(low["recovered_share"])
    told = f"of the agreement that was missing, {high['run']} recovered most ({most}), {low['run']} least ({least})."
    return told + interval_note(rows)


def fidelity_table(context: Context) -> pd.DataFrame:
    """Fidelity of every replica to the victim on each set of held-out prompts, and on all of them together ("all")."""
    scores, rows = outcomes(context.results.attacks), []
    scores = scores[scores["domain"] == "fidelity"]
    for (model, run), of_run in scores.groupby(["model", "run"], sort=False):
        own = [context.resamples.get((model, run, state)) for state in ("start", "end")]
        sets = list(of_run["benchmark"].unique())
        # All together only where there are several: of one set it would be the same row again.
        for name, members in [(name, [name]) for name in sets] + ([("all", sets)] if len(sets) > 1 else []):
            fidelity = _fidelity_on(of_run[of_run["benchmark"].isin(members)], pd.Index(members), own)
            tier = context.results.attacks.query("model == @model and run == @run")["tier"].iloc[0]
            floor = floors.floor_on(context.results.floors, model, tier, tuple(members))
            above = {"floor": floor, "above_floor": floors.above(fidelity["agreement"], floor)}
            rows.append({"model": model, "run": run, "prompts": name} | fidelity | above)
    return pd.DataFrame(rows, columns=FIDELITY_TABLE)


MEASURES = ("kl", "cross_entropy", "greedy_match", "common_prefix")
FIDELITY_TABLE = [
    *["model", "run", "prompts", "tokens", "agreement_start", "floor", "above_floor"],
    *with_ends("agreement", "recovered_share"),
    *MEASURES,
]


def _fidelity_on(scores: pd.DataFrame, sets: pd.Index, own: list[Resamples | None]) -> dict[str, float]:
    """Fidelity pooled over some sets of prompts; nan for a metric that was not taken on all of them."""

    def pooled(metric: str, state: str = "end") -> float:
        rows = scores[(scores["metric"] == metric) & (scores["state"] == state)].set_index("benchmark")
        return metrics.pooled_fidelity(rows["value"], rows["n"]) if sets.isin(rows.index).all() else NAN

    tokens = scores[(scores["metric"] == "agreement") & (scores["state"] == "end")].set_index("benchmark")["n"]
    on_all = partial(metrics.pooled_fidelity, n=tokens)
    row = {"tokens": tokens.sum(), "agreement_start": pooled("agreement", "start")}
    row |= {name: pooled(name) for name in ("agreement", *MEASURES)}
    row["recovered_share"] = numbers.recovered_share(row["agreement"], row["agreement_start"])
    row |= ends("agreement", on_all, sets, own[1])
    return row | ends("recovered_share", lambda a0, a: numbers.recovered_share(on_all(a), on_all(a0)), sets, *own)


FIDELITY_COLUMNS: Columns = {
    "run": ("run", "text"),
    "prompts": ("prompts", "text"),
    "tokens": ("answer tokens", "count"),
    "agreement_start": ("start %", "percent"),
    "agreement": ("after %", "percent"),
    "recovered_share": ("recov. %", "percent"),
    "floor": ("floor %", "percent"),
    "above_floor": ("above floor %", "percent"),
    "kl": ("KL", "number"),
    "cross_entropy": ("CE", "number"),
    "greedy_match": ("same greedy answer %", "percent"),
    "common_prefix": ("common prefix %", "percent"),
}


def _fidelity_by_run(table: pd.DataFrame, printed: bool) -> pd.DataFrame:
    """In the terminal runs down, sets of prompts across: agreement after the attack, how far greedy answers match."""
    if not printed:
        return in_columns(table, FIDELITY_COLUMNS)
    keys = ["model", "run"] if table["model"].nunique() > 1 else ["run"]
    sets = list(table["prompts"].unique())
    columns = []
    for measure in ("agreement", "greedy_match", "common_prefix"):
        values = table.pivot(index=keys, columns="prompts", values=measure)[sets].dropna(axis=1, how="all")
        head = "" if measure == "agreement" else f"{FIDELITY_COLUMNS[measure][0].removesuffix(' %')}, "
        columns.append(values.add_prefix(head).add_suffix(" %"))
    shown = pd.concat(columns, axis=1).map(cell, kind="percent")
    return shown.loc[table.set_index(keys).index.unique()].reset_index()


def _read_fidelity(rows: pd.DataFrame) -> str:
    sets = rows[rows["prompts"] != "all"].groupby("prompts")["tokens"].max()
    listed = ", ".join(f"{name} ({count:.0f} answer tokens)" for name, count in sets.items())
    return f"agreement on held-out texts: {listed}; only {EVALUATION} is of the attack's kind."


def training_table(context: Context) -> pd.DataFrame:
    """Training curves of all runs, one row a step, split and metric."""
    columns = ["model", "run", "deployment", "attack", "seed", "steps", "queries", "split", "metric", "value"]
    return context.results.curves[columns]


SECTION = Section(
    "attacks",
    "Attacks",
    (
        'Agreement is the share of held-out answer tokens where replica and victim would say the same; "start" is '
        'before any query, so "recovered" = (after - start) / (100 - start). ADR is the paper\'s ratio of scores, '
        "replica to victim: A averages the ratios (section 5.1), B divides the averages (its Tables 26 to 42), C "
        "and D are the means over domains of A and of B; delta ADR is A above that of the fully secured "
        'deployment. "corr." is the chance-corrected ratio: 0 is the floor, 100 the victim. "floor" scores the '
        "higher of guessing and of the best constant answer, as far as it was measured. KL and CE "
        "(cross-entropy) are in nats. Agreement is next-token agreement, teacher-forced; its floor is the best of a "
        'constant token, bigrams and trigrams counted on public text without a query, and "above floor" is the share '
        "of the rest, on web text and code, which are apart from the attack's kind.",
        RULE,
    ),
    (
        Table("attacks", attack_table, ATTACK_COLUMNS, _read_attacks, printed=True),
        Table(
            "fidelity",
            fidelity_table,
            FIDELITY_COLUMNS,
            _read_fidelity,
            printed=True,
            show=_fidelity_by_run,
            folded="Fidelity on each set of prompts",
        ),
        evidence.TABLE,
        evidence.FLOORS,
        Table("training", training_table),
    ),
)
