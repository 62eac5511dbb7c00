"""The paper's claims against our tables: what it said, what we measured, and a verdict by a rule stated here.

Each rule is one function of `rules_attacks` or `rules_deployment`. The rules are lopsided on purpose: an attack that
succeeds on a small budget shows that a set is not secure, one that fails shows nothing.
"""

import inspect
from collections.abc import Callable, Mapping

import pandas as pd

from solid_utils.paper import said
from solid_utils.report import rules_attacks, rules_deployment
from solid_utils.report.evidence import NOT_TESTED, PAPER_SAMPLES, Evidence, Finding, of_budget

COLUMNS = ["model", "key", "claim", "source", "paper_said", "we_measured", "verdict", "cells", "rule", "budget"]
RULES: dict[str, Callable[[Evidence], Finding]] = {
    rule.__name__: rule
    for rule in (
        rules_attacks.darknetz,
        rules_attacks.placement,
        rules_attacks.size,
        rules_attacks.solid_security,
        rules_deployment.solid_customization,
        rules_deployment.solid_layers,
        rules_attacks.difficulty_predicts,
        rules_attacks.ft_closed_at_chance,
        rules_attacks.sem_at_chance,
        rules_deployment.epsilon,
    )
}


def evidence(made: Mapping[str, pd.DataFrame], model: str) -> Evidence:
    """One model's part of the tables that `catalogue.make` returns."""
    mine = {name: table[table["model"] == model] for name, table in made.items()}
    customization = mine["customization"]
    return Evidence(
        mine["attacks"].dropna(subset="recovered_share"),
        mine["evidence"],
        mine["difficulty"],
        mine["search"].set_index("start"),
        decisive(customization[customization["benchmark"] == "all"])
        .drop_duplicates("deployment")
        .set_index("deployment"),
        mine["equivalence"].query("metric == 'right'"),
    )


def decisive(pooled: pd.DataFrame) -> pd.DataFrame:
    """One row a deployment, of one domain (kinds of problems): of those with fully open and SOLID the largest."""
    domains = [rows for _, rows in pooled.groupby("kinds", sort=False)]
    shared = [rows for rows in domains if {"fully_open", "solid"} <= set(rows["deployment"])] or domains
    return max(shared, key=lambda rows: rows["n"].max(), default=pooled).drop_duplicates("deployment")


def budget(found: Evidence) -> str:
    """What stood behind every number of a model, in one line."""
    parts = []
    if len(everything := found.dd("all")):
        parts.append(f"{everything['parameters'].iloc[0] / 1e6:.3g} M parameters")
    if len(found.difficulty):
        parts.append(f"DD on {found.difficulty['n'].max():.0f} samples, {found.difficulty['seeds'].max():.0f} seeds")
    for attack, runs in found.ends.groupby("attack", sort=False):
        steps = " to ".join(f"{value:.0f}" for value in sorted({runs["steps"].min(), runs["steps"].max()}))
        part = "not in the paper"
        if attack in PAPER_SAMPLES:
            part = f"{100 * of_budget(runs).max():.2g} % of the paper's samples at most"
        parts.append(f"{attack} {steps} steps, {runs['seed'].nunique()} seed(s), {part}")
    return "; ".join(parts) or "no runs"


def claim_table(made: Mapping[str, pd.DataFrame], models: list[str]) -> pd.DataFrame:
    """Every claim of the paper for every model: paper said, we measured, verdict, what it stands on, rule, budget."""
    rows = []
    for model in models:
        found = evidence(made, model)
        spent = budget(found)
        for claim in said.CLAIMS:
            rule = RULES[claim.key]
            judged = rule(found)
            verdict, measured = judged.verdict, judged.measured
            if "tiny" in {*found.attacks["tier"], *found.difficulty["tier"]}:
                verdict, measured = NOT_TESTED, f"tier tiny proves the pipeline only; {measured}"
            text = " ".join(inspect.getdoc(rule).split())
            names = ", ".join(dict.fromkeys(judged.cells))
            facts = [claim.key, claim.text, claim.source, claim.published]
            rows.append([model, *facts, measured, verdict, names, text, spent])
    return pd.DataFrame(rows, columns=COLUMNS)
