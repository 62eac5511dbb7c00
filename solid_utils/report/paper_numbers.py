"""What the redrawn figures of the paper show: series of its published tables, and ours beside them."""

import pandas as pd

from solid_utils.paper import paper
from solid_utils.report.plotting import Tables

ADR, DD, SCORE = "average_distillation_ratio", "distillation_difficulty", "avg_performance_score"
PLACED = {  # model -> tables by place of what is secured, and the column of the fully secured model
    "Llama2-7B": ((26, 27), "*"),
    "Mistral-7B": ((28, 29), "*"),
    "Phi-2": ((30, 31), "*"),
    "Phi-1.5": ((32,), "*"),
    "OPT-350M": ((42,), "*"),
}
BY_SHARE = {"Llama2-7B": 34, "Mistral-7B": 36, "Phi-2": 38, "Phi-1.5": 40}
BY_NUMBER = {"Llama2-7B": 35, "Mistral-7B": 37, "Phi-2": 39, "Phi-1.5": 41}
CUSTOMIZED = {"Llama2-70B": 17, "Llama2-7B": 18, "Mistral-7B": 19, "Phi-2": 20, "Phi-1.5": 21}
TASKS = ["Math", "Code", "Medical", "Law", "Finance", "Alignment"]
LAYERS = {"Llama2-7B": 32, "Phi-2": 32}  # of the models of Table 33 (Table 3)
FAMILY = ["attack", "source", "recipe", "queries"]  # ends of attacks that may be compared over sets


def summaries(table: int) -> pd.DataFrame:
    """The printed summary rows of a table: a row a secured set, in the table's order."""
    rows = paper.result_table(table).query("domain == 'summary'")
    wide = rows.pivot(index="secured", columns="row", values="value")
    return wide.loc[rows["secured"].unique()].rename_axis(columns=None).reset_index()


def by_place(model: str) -> pd.DataFrame:
    """ADR and DD of every set of equal size, `index` in order, `above`: ADR above the fully secured model's, points."""
    tables, whole = PLACED[model]
    sets = pd.concat([summaries(table) for table in tables], ignore_index=True)
    sets = sets[sets["secured"] != "Pretrain"]
    floor = sets.set_index("secured").loc[whole, ADR]
    placed = sets[sets["secured"] != whole].reset_index(drop=True)
    return placed.assign(index=placed.index, above=placed[ADR] - floor)


def by_share(model: str) -> pd.DataFrame:
    """The same by share of secured parameters, `share` in percent, smallest first; fully secured is the last."""
    sets = summaries(BY_SHARE[model])
    sets["share"] = sets["secured"].str.rstrip("%").astype(float)
    floor = sets.set_index("secured").loc["100%", ADR]
    return sets.assign(above=sets[ADR] - floor).sort_values("share", ignore_index=True)


def by_number(model: str) -> pd.DataFrame:
    """The same by number of secured parameters, `millions`; above what the table by share prints for fully secured."""
    sets = summaries(BY_NUMBER[model])
    sets["millions"] = sets["secured"].str.rstrip("M").astype(float)
    floor = by_share(model)[ADR].iloc[-1]
    return sets.assign(above=sets[ADR] - floor).sort_values("millions", ignore_index=True)


def every_set(model: str) -> pd.DataFrame:
    """All sets of a model that have a difficulty: columns DD, ADR, `above`."""
    parts = [by_place(model)]
    if model in BY_SHARE:
        parts += [by_share(model), by_number(model)]
    return pd.concat(parts, ignore_index=True).dropna(subset=[DD, ADR])


def customized_by_size() -> dict[str, pd.DataFrame]:
    """Table 33: GSM8K after customization by share of secured decoder layers, in percent, a model each."""
    rows = paper.result_table(33)
    rows = rows[~rows["secured"].isin(["Fully-open", "Fully-Secure"])]
    found = {}
    for model, mine in rows.groupby("model", sort=False):
        last = mine["secured"].str.rpartition("-")[2].astype(int)
        found[model] = pd.DataFrame({"share": 100 * (last + 1) / LAYERS[model], "score": mine["value"]})
    return found


def domains(table: int, model: str, secured: list[str]) -> pd.DataFrame:
    """Distillation ratios of FT-all by domain, the mean of their rows' ratios, in percent; a column a secured set."""
    victim = paper.pretrain(model)
    found = {}
    for name in secured:
        ratios = 100 * paper.column(table, model, "FT-all", name) / victim
        found[name] = {domain: ratios[rows].mean() for domain, rows in paper.DOMAINS.items()}
    return pd.DataFrame(found)


def customized(table: int) -> pd.DataFrame:
    """Scores after customization by task, in percent, a column a deployment; alignment, of ten points, times ten."""
    rows = paper.result_table(table)
    wide = rows.pivot(index="row", columns="secured", values="value")
    wide = wide.reindex(TASKS)[list(rows["secured"].unique())]
    wide.loc["Alignment"] *= 10
    return wide.rename(index={"Alignment": "Align. x 10"})


def families(tables: Tables, sets: pd.Series) -> pd.DataFrame:
    """Our ends on these sets (a mask over `evidence`): of each attack the recipe and budget that ran on most of them.

    One row an attack and set, a mean over seeds; columns FAMILY, secured, share, depth, above_floor_apart, kl_apart.
    """
    ends = tables["evidence"][sets].dropna(subset="above_floor_apart")
    ends = ends.assign(recipe=ends["recipe"].fillna("").astype(str))
    chosen = []
    for _, mine in ends.groupby("attack", sort=False):
        alike = [rows for _, rows in mine.groupby(FAMILY[1:], sort=True)]
        chosen.append(max(alike, key=lambda rows: (rows["secured"].nunique(), rows["queries"].iloc[0])))
    values = ["share", "depth", "above_floor_apart", "kl_apart"]
    if not chosen:
        return pd.DataFrame(columns=[*FAMILY, "secured", "start", *values])
    whole = pd.concat(chosen).astype(dict.fromkeys(values, float))
    return whole.groupby([*FAMILY, "secured", "start"], sort=False)[values].mean().reset_index()


def with_difficulty(ends: pd.DataFrame, difficulty: pd.DataFrame) -> pd.DataFrame:
    """Ends of `families` whose set has a DD from the attack's own start."""
    known = difficulty[difficulty["kind"] != "empty"].drop_duplicates(["secured", "start"])
    return ends.merge(known[["secured", "start", "dd"]], on=["secured", "start"])


def layer(secured: pd.Series) -> pd.Series:
    """The first layer of sets such as `layers 14` or `layers 28-29`."""
    return secured.str.extract(r"^layers (\d+)", expand=False).astype(float)
