"""Columns of every result file, written once. One observation a row; never a time or a date."""

from pathlib import Path

import pandas as pd

from solid_utils.core import files
from solid_utils.core.errors import StudyError

# What was run, at which cost, what came out. `attack` is "none" for the victim and for customized models;
# `steps` 0 is the attacker's start, before any training ("zero-query row").
RUN = [
    "model",
    "revision",
    "tier",
    "dtype",
    "deployment",
    "secured",
    "start",
    "attack",
    "recipe",
    "view",
    "labels",
    "seed",
]
COST = ["steps", "queries", "tokens", "flops"]
OUTCOME = ["benchmark", "domain", "shots", "metric", "value", "stderr", "n", "chance", "floor", "task_version"]
OUTCOME += ["batch", "libraries"]  # tokens a batch may hold, padding included; versions
SCORES = RUN + COST + OUTCOME
LATER = ["batch", "libraries"]  # columns that scores from before their introduction lack; read as unknown

# The items behind the scores, beside scores.csv: a score is sum of `value` / sum of `weight`. For fidelity an item is a
# sample, `value` its agreeing tokens and `weight` its answer tokens; elsewhere `value` is the item's score, `weight` 1.
ITEMS = ["model", "deployment", "attack", "seed", "steps", "benchmark", "item", "value", "weight"]

# Training curves: validation after `step` optimizer steps. Rows with step 0 come before any training.
CURVE = RUN + COST + ["split", "metric", "value"]

# Greedy answers to the same prompts, side by side.
ANSWERS = ["id", "victim", "replica"]

# What logits alone give away of the head. `gap`: ratio of singular values at the width found, near 1 where none shows;
# `outside`: share of the head outside the span found; `agreement`: positions whose most likely token survives the noise
# of one asking; askings_90: how often to ask for 90 % of them; blank where a million times are not enough, as where
# bfloat16 logits tie.
LEAKS = ["model", "deployment", "queries", "positions", "width", "estimated_width", "gap", "outside", "agreement"]
LEAKS += ["askings_90", "askings_99"]

# Distillation difficulty, one row a (kind, secured set, start, seed); seed "mean" averages the seeds. `calibrated`,
# where it was measured: what is left of DD after fitting one temperature (first seed).
DD = [
    "model",
    "revision",
    "tier",
    "dtype",
    "kind",
    "secured",
    "layers",
    "parameters",
    "share",
    "start",
    "seed",
    "dd",
    "stderr",
    "n",
    "calibrated",
]


def write(rows: list[dict] | pd.DataFrame, columns: list[str], path: Path) -> pd.DataFrame:
    """Write rows as CSV in the given column order, whole or not at all. Raises StudyError on a wrong column."""
    table = pd.DataFrame(rows)
    if set(table.columns) != set(columns):
        wrong = sorted(set(table.columns) ^ set(columns))
        raise StudyError(f"{path}: columns {wrong} do not fit core/schema.py; mend that or the writer")
    with files.whole(path) as partial:
        table[columns].to_csv(partial, index=False, float_format="%.10g")
    return table[columns]


def read(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a result file. Raises StudyError when it is missing or its columns do not fit (but see LATER)."""
    if not path.exists():
        raise StudyError(f"{path}: missing; run `dvc repro` first")
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    table = table.assign(**{name: "unknown" for name in LATER if name in columns and name not in table})
    if list(table.columns) != columns:
        raise StudyError(f"{path}: columns do not fit solid_utils/core/schema.py; delete it and run `dvc repro`")
    return table
