"""What defences cost a vendor's customer and leave to a thief, as it lies in reference/MACHINE/vendor/MODEL."""

from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.report import floors

AT_MOST = 0.02  # by how much a defence may worsen perplexity
WITHIN = 0.1  # of the parameters
NONE = "none"
BOUNDARIES = [*schema.BOUNDARIES, "machine", "above", "worse", "usable", "strongest"]
ROTATION = [*schema.ROTATION, "machine", "above"]
MONITOR = [*schema.MONITOR, "machine"]
DISGUISED = [*schema.DISGUISED, "machine", "above"]
PIECES = [*schema.PIECES, "machine", "above"]
TURNS = [*schema.TURNS, "machine", "above", "worse", "usable"]
SERVED = ["model", "machine", "secured", "rounding", "noise", "benchmarks", "mean", "change", "change_error"]
ENDS = ["model", *schema.ENDS, "share_embeddings", "share_layer", "share_both", "bottom_layers"]
# Traffic of thieves who know of the monitor (runtime/monitor.py); the second of the length of queries, too.
HIDDEN = ("attack texts, legitimate ones behind", "few tokens of attack texts, legitimate ones behind")
COUNTED = "counted"  # in place of a model's name
DEFENCE = ["model", "machine", "secured", "rounding", "noise"]
PAIR = ["model", "machine", "secured", "twin", "spread"]
FIRST = {"twin": "noise", "spread": 0.0}  # the pair that is one bottom
PLACE = ["model", "machine", "secured"]


def load(name: str, columns: list[str], reference: Path = paths.REFERENCE) -> pd.DataFrame:
    """Such a file of all machines and models, and `machine`."""
    found = sorted(reference.glob(f"*/{paths.VENDOR}/*/{name}"))
    tables = [schema.read(path, columns).assign(machine=path.resolve().parents[2].name) for path in found]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "machine"])


def above(rows: pd.DataFrame, known: pd.DataFrame) -> list[float]:
    """Share of what public text does not give that each row's agreement has."""
    keys = zip(rows["model"], rows["tier"], rows["benchmark"], rows["agreement"], strict=True)
    return [
        floors.above(agreement, floors.floor_on(known, model, tier, (text,))) for model, tier, text, agreement in keys
    ]


def named(row: pd.Series | dict) -> str:
    """A defence in a word or two."""
    return f"noise {row['noise']:g}" if row["noise"] else row["rounding"]


def defends(row: pd.Series) -> bool:
    """Is there a defence at all?"""
    return named(row) != NONE


def boundaries(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """A row a defence and thief, columns BOUNDARIES; known: schema.FLOOR.

    worse: by how much the customer's perplexity grows, a share; usable: by at most AT_MOST. strongest: the thief of
    this defence who recovers most.
    """
    if rows.empty:
        return pd.DataFrame(columns=BOUNDARIES)
    made = rows.assign(above=above(rows, known))
    customers = made[made["attack"] == NONE].set_index(DEFENCE)["perplexity"]
    keys = pd.MultiIndex.from_frame(made[DEFENCE])
    bare = pd.MultiIndex.from_frame(made[DEFENCE].assign(rounding=NONE, noise=0.0))
    made["worse"] = customers.reindex(keys).to_numpy() / customers.reindex(bare).to_numpy() - 1
    made["usable"] = made["worse"] <= AT_MOST
    thieves = made[made["attack"] != NONE]
    made["strongest"] = made.index.isin(thieves.groupby(DEFENCE, sort=False)["agreement"].idxmax())
    return made[BOUNDARIES]


def turns(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Two bottoms by turns, columns TURNS; worse: by how much the customer's perplexity grows, over one bottom."""
    if rows.empty:
        return pd.DataFrame(columns=TURNS)
    made = rows.assign(above=above(rows, known))
    customers = made[made["attack"] == NONE].set_index(PAIR)["perplexity"]
    one = pd.MultiIndex.from_frame(made[PAIR].assign(**FIRST))
    made["worse"] = customers.reindex(pd.MultiIndex.from_frame(made[PAIR])).to_numpy()
    made["worse"] = made["worse"] / customers.reindex(one).to_numpy() - 1
    made["usable"] = made["worse"] <= AT_MOST
    return made[TURNS]


def called_strange(rows: pd.DataFrame) -> dict[str, float]:
    """Of one window size the share called strange by traffic: the most over domains, of a thief who hides the least."""
    by_traffic = rows.groupby("traffic", sort=False)["alarms"]
    return by_traffic.max().to_dict() | {name: low for name, low in by_traffic.min().items() if name in HIDDEN}


def unknown_sum(values: pd.Series) -> float:
    """The sum, nan where nothing is known."""
    return values.sum(min_count=1)


def served(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a defence, columns SERVED: its mean over benchmarks, and what that is less than without a defence.

    change_error: standard error of the change, its two sides taken as independent; they answer the same items, so the
    true one is smaller.
    """
    if rows.empty:
        return pd.DataFrame(columns=SERVED)
    keys = ["model", "machine", "secured", "benchmark", "metric"]
    bare = rows[(rows["rounding"] == NONE) & (rows["noise"] == 0)].set_index(keys)[["value", "stderr"]]
    plain = bare.reindex(pd.MultiIndex.from_frame(rows[keys]))
    made = rows.assign(off=rows["value"] - plain["value"].to_numpy())
    made["square"] = rows["stderr"] ** 2 + plain["stderr"].to_numpy() ** 2
    found = made.groupby(DEFENCE, sort=False).agg(
        benchmarks=("benchmark", "size"), mean=("value", "mean"), change=("off", "mean"), square=("square", unknown_sum)
    )
    found["change_error"] = found.pop("square") ** 0.5 / found["benchmarks"]
    return found.reset_index()[SERVED]


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of the whole, columns ENDS; share_both: embeddings and one layer; bottom_layers: how many fit WITHIN."""
    whole = rows["model_parameters"]
    # A tied head is the embeddings' tensor, and secret with it.
    made = rows.assign(model=COUNTED, share_embeddings=rows["embeddings"] / whole, share_layer=rows["layer"] / whole)
    made["share_both"] = made["share_embeddings"] + made["share_layer"]
    left = (WITHIN - made["share_embeddings"]) / made["share_layer"]
    made["bottom_layers"] = left.where(left >= 0) // 1
    return made[ENDS]
