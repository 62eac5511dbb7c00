"""What may stand in a column of a result file, and which rows belong together: checked at reading and at writing."""

from collections.abc import Callable

import numpy as np
import pandas as pd

COUNTS = (
    "parameters depth lowest highest batch numbers steps samples queries tokens flops shots n forward_tokens weight"
)
COUNTS += " positions width estimated_width askings_90 askings_99 place agreeing prompts"
COUNTS += " texts askings context secret_bytes cache_bytes window windows model_parameters layers embeddings head layer"
# From 0 to 1.
SHARES = "share chance floor agreement deployment_agreement replica_agreement outside rate alarms greedy_match"
POSITIVE = "stderr dd calibrated gap flops_inside sent received perplexity state_error"  # 0 or more
POSITIVE += " own_start held_out_start own_end held_out_end spread apart"
NUMBERS = "value task_version norm alpha kl"
# Texts stay texts: twelve digits of a commit are no number, and "1e5" is no 100000.
TEXTS = "model revision tier dtype deployment secured start attack recipe view labels benchmark domain metric libraries"
TEXTS += " sha256 commit item split id group cell predictor kind step quantity variant rounding work score way adapts"
TEXTS += " exported traffic drawn_from shape twin"
ANSWERS = "victim replica"  # texts as well, and a model may answer with blanks alone
# Where a quantity has none.
MAY_BE_BLANK = set(["lowest", "highest", "chance", "floor", "calibrated", "stderr", "askings_90", "askings_99"])
MAY_BE_BLANK |= set(["alpha", "norm", "depth", "place", "task_version"])
MEASURED_SHARES = {
    "agreement",
    "greedy_match",
    "exact_match",
    "preferred",
    "acc",
    "acc_norm",
}  # metrics between 0 and 1
SLACK = 1e-9  # a share of sums may be off by rounding
SEEDS = ("none", "mean")  # besides whole numbers

Check = Callable[[pd.Series], np.ndarray]  # which cells are wrong


def _numeric(column: pd.Series) -> np.ndarray:
    """As float64; what is no number becomes nan, and so does a truth value."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(float)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float, copy=True)
    numbers[[isinstance(cell, bool | np.bool_) for cell in column]] = np.nan
    return numbers


def _count(column: pd.Series) -> np.ndarray:
    numbers = _numeric(column)
    return ~np.isfinite(numbers) | (numbers < 0) | (numbers != np.round(numbers))


def _between(low: float, high: float) -> Check:
    def wrong(column: pd.Series) -> np.ndarray:
        numbers = _numeric(column)
        return ~np.isfinite(numbers) | (numbers < low - SLACK) | (numbers > high + SLACK)

    return wrong


def _text(column: pd.Series) -> np.ndarray:
    # Most columns hold one text a thousand times.
    blank = [cell for cell in column.unique() if pd.isna(cell) or not str(cell).strip()]
    return column.isin(blank).to_numpy()


def _seed(column: pd.Series) -> np.ndarray:
    return _count(column) & ~column.isin(SEEDS).to_numpy()


def _truth(column: pd.Series) -> np.ndarray:
    return ~column.astype(str).isin(["True", "False"]).to_numpy()  # one wrong word makes all of them words


KINDS: dict[str, tuple[str, Check]] = {
    **dict.fromkeys(COUNTS.split(), ("a count", _count)),
    **dict.fromkeys(SHARES.split(), ("a share between 0 and 1", _between(0, 1))),
    **dict.fromkeys(POSITIVE.split(), ("a number of 0 or more", _between(0, np.inf))),
    **dict.fromkeys(NUMBERS.split(), ("a number", _between(-np.inf, np.inf))),
    **dict.fromkeys(TEXTS.split(), ("a text", _text)),
    "seed": ("a seed", _seed),
    **dict.fromkeys(("only_layers", "tied"), ("True or False", _truth)),
}

# Rows of equal keys would be the same observation twice. By a column that only this kind of file has, else by "metric".
KEYS = {
    "item": ("model", "deployment", "attack", "seed", "steps", "benchmark", "item"),
    "split": ("model", "seed", "steps", "split", "metric"),
    "libraries": ("model", "deployment", "attack", "seed", "steps", "benchmark", "metric", "shots"),
    "replica": ("id",),
    "askings_90": ("deployment",),
    "cell": ("group", "cell"),
    "predictor": ("model", "benchmark", "predictor"),
    "adapts": ("model", "secured", "rounding", "noise", "attack", "adapts", "seed", "item"),
    "drawn_from": ("model", "secured", "attack", "drawn_from", "queries"),
    "traffic": ("model", "window", "traffic", "drawn_from"),
    "exported": ("model", "secured", "exported", "attack", "queries", "seed"),
    "embeddings": ("shape",),
    "perplexity": ("model", "secured", "rounding", "noise", "attack", "adapts", "texts", "askings", "seed"),
    "rounding": ("secured", "rounding", "noise", "texts", "askings"),
    "work": ("secured", "work", "pulls"),
    "kind": ("model", "kind", "secured", "start", "seed"),
    "norm": ("step", "quantity", "norm", "alpha", "depth", "place"),
    "way": ("model", "secured", "score"),
    "variant": ("model", "variant", "place", "depth", "quantity"),
}


def dtypes(columns: list[str]) -> dict[str, type]:
    """What pandas must not guess."""
    return {name: str for name in columns if name in f"{TEXTS} {ANSWERS}".split()}


def fault(table: pd.DataFrame, columns: list[str]) -> tuple[int, str] | None:
    """The first wrong row, by its place in the table, and what is wrong with it; None where nothing is."""
    for name in columns:
        what, wrong = KINDS.get(name, ("", None))
        if not what:
            continue
        blank = table[name].isna().to_numpy() if name in MAY_BE_BLANK else np.False_
        places = np.flatnonzero(wrong(table[name]) & ~blank)
        if places.size:
            return places[0], f"{name} is {_cell(table[name].iloc[places[0]])}, not {what}"
    if {"metric", "value"} <= set(columns):
        share = table["metric"].isin(MEASURED_SHARES).to_numpy()
        places = np.flatnonzero(share & _between(0, 1)(table["value"]))
        if places.size:
            row = table.iloc[places[0]]
            return places[0], f"value of {row['metric']} is {row['value']}, not a share between 0 and 1"
    return _twice(table, columns)


def _twice(table: pd.DataFrame, columns: list[str]) -> tuple[int, str] | None:
    keys = next((list(keys) for mark, keys in KEYS.items() if mark in columns and set(keys) <= set(columns)), [])
    again = np.flatnonzero(table.duplicated(keys)) if keys else np.array([])
    if not again.size:
        return None
    row = table.iloc[again[0]]
    return again[0], f"a row of {', '.join(str(row[key]) for key in keys)} stands there twice"


def unfinished(scores: pd.DataFrame) -> str:
    """What an attack's scores (schema.SCORES) lack: every seed has its start and its end, in the same metrics on the
    same sets. Empty where nothing lacks, and for victims and customized models, whose start has other scores."""
    for seed, rows in scores[scores["attack"] != "none"].groupby("seed"):
        states = {steps: set(zip(of["benchmark"], of["metric"], strict=True)) for steps, of in rows.groupby("steps")}
        if min(states) != 0 or len(states) < 2:
            return f"seed {seed} has no {'start' if min(states) else 'end'}"
        everything = set.union(*states.values())
        for steps, found in states.items():
            if lacking := sorted(everything - found):
                return f"seed {seed}, {steps} steps: no {lacking[0][1]} of {lacking[0][0]}"
    return ""


def _cell(value: object) -> str:
    return "blank" if pd.isna(value) else repr(value) if isinstance(value, str) else str(value)
