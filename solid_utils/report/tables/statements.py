"""Everything that the paper states: its rule, its verdict, and the strongest evidence of every source, a row each."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.paper.statements import STATEMENTS, Statement
from solid_utils.report import floors
from solid_utils.report.evidence import CONTRADICTED, NOT_TESTED, SUPPORTED
from solid_utils.report.table import Context, Table
from solid_utils.report.tables.evidence import strongest

RATIO = "chance_corrected_ratio"
NUMBERS = ["above_floor_apart", "above_floor_apart_low", "above_floor_apart_high", "floor_apart"]
NUMBERS += [RATIO, f"{RATIO}_low", f"{RATIO}_high", "outcome", "outcome_low", "outcome_high"]
STATEMENTS_TABLE = ["model", "statement", "claim", "stands_in", "rule", "rests_on", "verdict"]
STATEMENTS_TABLE += ["source", "evidence", "secured", "attack", "queries", *NUMBERS]
NORMAL = 1.96  # standard errors of a 95 % interval
ALIKE = 0.01  # relative, of singular values: the victim collapses as its replica does (notebook 00, step 4)
RANK_TWO = 0.01  # of singular values, second over first: far from rank one (step 5)


def statement_table(context: Context) -> pd.DataFrame:
    """A row a statement and piece of evidence; one without evidence has one row."""
    rows = []
    for model in context.results.models:
        for one in STATEMENTS:
            head = {
                "model": model,
                "statement": one.key,
                "claim": one.text,
                "stands_in": one.source,
                "rule": one.rule,
                "rests_on": " ".join([*one.claims, *one.asked, *(f"step_{step}" for step in one.theory)]),
                "verdict": verdict(context, model, one),
            }
            rows += [head | found for found in evidence(context, model, one)] or [head]
    return pd.DataFrame(rows, columns=STATEMENTS_TABLE)


def verdict(context: Context, model: str, one: Statement) -> str:
    """By the rule that every statement prints."""
    claims = context.table("claims")
    judged = list(claims[(claims["model"] == model) & claims["key"].isin(one.claims)]["verdict"])
    if one.theory:
        judged.append(by_theory(steps(context.results.folder, model), one.theory))
    if CONTRADICTED in judged:
        return CONTRADICTED
    return SUPPORTED if judged and set(judged) == {SUPPORTED} else NOT_TESTED


def steps(folder: Path, model: str) -> pd.DataFrame:
    """Notebook 00's steps.csv of these results, else of any shipped run, as it hangs on no model; empty if none."""
    shipped = sorted(paths.REFERENCE.glob("*/runs/*/theory/steps.csv"))
    for path in [folder / "runs" / model / "theory" / "steps.csv", *shipped]:
        if path.exists():
            return schema.read(path, schema.THEORY)
    return pd.DataFrame(columns=schema.THEORY)


def by_theory(found: pd.DataFrame, asked: tuple[int, ...]) -> str:
    """Contradicted where one of these steps of notebook 00 speaks against it; that none does supports nothing."""
    values = numbered(found)
    rules = {3: no_threshold, 4: alike, 5: counter_example}
    against = [rule for step, rule in rules.items() if step in asked and rule(values[values["step"] == step])]
    return CONTRADICTED if against else NOT_TESTED


def numbered(found: pd.DataFrame) -> pd.DataFrame:
    return found.assign(step=found["step"].astype(int), value=found["value"].astype(float))


def computed(found: pd.DataFrame, asked: tuple[int, ...]) -> Iterator[dict]:
    """What the deciding steps came to: from the least to the most over places, norms and depths."""
    values = numbered(found)
    mine = values[values["step"].isin(set(asked) & {3, 4, 5})]
    for (step, quantity), rows in mine.groupby(["step", "quantity"], sort=False):
        ends = {"outcome_low": rows["value"].min(), "outcome_high": rows["value"].max()}
        yield {"source": "theory", "evidence": f"step {step}: {quantity}", **ends}


def no_threshold(step: pd.DataFrame) -> bool:
    """With Lemma 2 applied to every layer the bound falls at every place of the wrong layer: no transition."""
    whole = step[step["quantity"] == "log2_ratio_all_layers"]["value"]
    return len(whole) > 0 and bool((whole < 0).all())


def alike(step: pd.DataFrame) -> bool:
    """At the largest depth the victim's second singular value has fallen as far as that of a replica."""
    deepest = step[step["depth"] == step["depth"].max()]
    values = deepest.drop_duplicates("quantity").set_index("quantity")["value"]
    if not {"ratio_victim", "ratio_replica"} <= set(values.index):
        return False
    return abs(values["ratio_replica"] / values["ratio_victim"] - 1) < ALIKE


def counter_example(step: pd.DataFrame) -> bool:
    """A stack with a wrong layer keeps rank two wherever that layer lies."""
    values = step[step["quantity"] == "ratio_replica"]["value"]
    return len(values) > 0 and bool((values > RANK_TWO).all())


def evidence(context: Context, model: str, one: Statement) -> Iterator[dict]:
    """The strongest attack of each source on each set, the customizations, and the hypotheses' outcomes."""
    ends = context.table("evidence")
    ends = ends[(ends["model"] == model) & (ends["start"] != "public_base")]
    for name in one.sets:
        if name == "customized":
            yield from customized(context, model)
            continue
        mine = ends[chosen(context, model, ends, name)].dropna(subset="above_floor_apart")
        for _, row in strongest(mine, ["source"]).iterrows():
            yield attacked(context, model, row)
    if one.theory:
        yield from computed(steps(context.results.folder, model), one.theory)
    asked = context.table("hypotheses")
    for _, row in asked[asked["hypothesis"].isin(one.asked) & asked["outcome"].notna()].iterrows():
        found = {name: row[name] for name in ("outcome", "outcome_low", "outcome_high")}
        yield {"source": "scale", "evidence": f"{row['hypothesis']} {row['model']} {row['verdict']}", **found}


def chosen(context: Context, model: str, ends: pd.DataFrame, name: str) -> pd.Series:
    """Which ends are on a set: the layers that SOLID secures, the first, any other single one, the last, everything."""
    single = ends["only_layers"].astype(bool) & (ends["depth"].astype(float) == 1)
    if name == "solid":
        search = context.table("search")
        mine = search[search["model"] == model]
        depth = mine["l_star"].iloc[0] if len(mine) else -1
        return ends["prefix"].astype(bool) & (ends["depth"].astype(float) == depth)
    if name == "last":
        difficulty = context.table("difficulty")
        prefixes = difficulty[(difficulty["model"] == model) & (difficulty["kind"] == "prefix")]
        return single & (ends["secured"] == f"layers {prefixes['depth'].max() - 1:.0f}")
    whole = {"first": single & ends["prefix"].astype(bool), "others": single & ~ends["prefix"].astype(bool)}
    return whole.get(name, ends["deployment"] == "fully_secured")


def attacked(context: Context, model: str, row: pd.Series) -> dict:
    """An end: above the floor with an interval over texts, and above chance on benchmarks where the run has them."""
    found = {"source": row["source"], "evidence": row["name"], "floor_apart": row["floor_apart"]}
    found |= {name: row[name] for name in ("secured", "attack", "queries", "above_floor_apart")}
    for end, sign in (("low", -1), ("high", 1)):
        agreement = row["agreement_apart"] + sign * NORMAL * row["stderr_apart"]
        found[f"above_floor_apart_{end}"] = floors.above(agreement, row["floor_apart"])
    runs = context.table("attacks")
    scored = runs[(runs["model"] == model) & (runs["run"] == row["name"])]
    if row["source"] == "default" and len(scored):
        found |= {name: scored[name].iloc[0] for name in (RATIO, f"{RATIO}_low", f"{RATIO}_high")}
    return found


def customized(context: Context, model: str) -> Iterator[dict]:
    """Accuracy after each customization, of all problems together; of customization cells the gap to fully open."""
    rows = context.table("customization")
    for _, row in rows[(rows["model"] == model) & (rows["benchmark"] == "all")].iterrows():
        found = {"outcome": row["after"], "outcome_low": row["after_low"], "outcome_high": row["after_high"]}
        yield {"source": "default", "evidence": row["run"], "secured": row["secured"], **found}
    cells = context.table("equivalence")
    for _, row in cells[(cells["model"] == model) & (cells["metric"] == "right") & cells["gap"].notna()].iterrows():
        found = {"outcome": row["gap"], "outcome_low": row["gap_low"], "outcome_high": row["gap_high"]}
        named = f"{row['run']}: gap to fully open, {row['equivalence']}"
        yield {"source": "customization", "evidence": named, "secured": row["deployment"], **found}


STATEMENTS_OF_THE_PAPER = Table("statements", statement_table)
