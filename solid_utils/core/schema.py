"""Columns of every result file, written once. One observation a row; never a time or a date."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from solid_utils.core import files, readers
from solid_utils.core.columns import dtypes, fault, unfinished
from solid_utils.core.errors import StudyError

# A secured set in facts: its name in words; scalars, and their share of the model's; decoder layers that are wholly
# secret, the lowest and the highest of them (blank where there is none); is nothing else secret?
SECURED = ["secured", "parameters", "share", "depth", "lowest", "highest", "only_layers"]
# What was run, at which cost, what came out. `attack` is "none" for the victim and for customized models; `steps` 0 is
# the attacker's start, before any training ("zero-query row"). `batch`: sequences an optimizer step; `numbers`: scalars
# a token that leave the deployment and are trained on.
RUN = ["model", "revision", "tier", "dtype", "deployment", *SECURED]
RUN += ["start", "attack", "recipe", "batch", "view", "numbers", "labels", "seed"]
COST = ["steps", "samples", "queries", "tokens", "flops"]  # samples: each as often as it was trained on
OUTCOME = ["benchmark", "domain", "shots", "metric", "value", "stderr", "n", "chance", "floor", "task_version"]
OUTCOME += ["forward_tokens", "libraries"]  # tokens that one forward may hold, padding included; versions
SCORES = RUN + COST + OUTCOME

# The items behind the scores, beside scores.csv: a score is sum of `value` / sum of `weight`. For fidelity an item is a
# sample, `value` its agreeing tokens and `weight` its answer tokens; elsewhere `value` is the item's score, `weight` 1.
ITEMS = ["model", "deployment", "attack", "seed", "steps", "benchmark", "item", "value", "weight"]

# Beside a cell's scores: every held-out text by its id; KL(victim || replica) in nats, the mean over its answer tokens.
TEXTS = ["model", "deployment", "attack", "seed", "steps", "benchmark", "item", "tokens", "agreeing", "kl"]

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

# Defences at the boundary (notebook 06): what one costs the customer, and what a linear map fitted through it recovers.
# `askings` of each of `texts`, barely changed each time; agreement and KL with the plain victim on `n` held-out texts.
DEFENCES = ["model", "revision", "tier", "dtype", *SECURED, "rounding", "noise", "texts", "askings", "queries"]
DEFENCES += ["tokens", "deployment_agreement", "deployment_kl", "replica_agreement", "replica_kl", "n"]

# The same by every attack on boundary states, a row a held-out text (runtime/adaptive.py); `attack` "none" is the
# customer's model. `adapts`: what an attacker does who knows of the defence.
DEFENDED = ["model", "revision", "tier", "dtype", *SECURED, "rounding", "noise", "attack", "recipe", "adapts"]
DEFENDED += ["askings", "queries", "tokens", "seed", "item", "agreeing", "weight", "kl"]

# What a defence at the boundary costs the customer (attack "none") and leaves to the linear map (runtime/price.py), on
# one kind of held-out text: agreement and KL with the plain victim, and the model's own perplexity.
BOUNDARIES = ["model", "revision", "tier", "dtype", *SECURED, "rounding", "noise", "attack", "adapts", "texts"]
BOUNDARIES += ["askings", "queries", "tokens", "seed", "benchmark", "agreement", "stderr", "kl", "perplexity", "n"]

# A secret rotation of the exported model (runtime/rotated.py): agreement and KL with the product, by export and attack.
ROTATION = ["model", "revision", "tier", "dtype", *SECURED, "exported", "attack", "queries", "tokens", "seed"]
ROTATION += ["benchmark", "agreement", "stderr", "kl", "perplexity", "n"]

# A monitor of queries (runtime/monitor.py): share of windows that it calls strange, by traffic. `rate`: the share of
# legitimate windows that it was set to.
MONITOR = ["model", "revision", "window", "rate", "traffic", "drawn_from", "texts", "tokens", "windows", "alarms"]
MONITOR += ["seed"]

# A thief who asks texts of a customer's domain (runtime/disguised.py), by what they were drawn from.
DISGUISED = ["model", "revision", "tier", "dtype", *SECURED, "attack", "drawn_from", "queries", "tokens"]
DISGUISED += ["benchmark", "agreement", "stderr", "kl", "perplexity", "n"]

# Sets of several separated pieces (runtime/pieces.py), and two secret bottoms that answer in turn (runtime/turns.py).
PIECES = ["model", "revision", "tier", "dtype", *SECURED, "pieces", "attack", "adapts", "queries", "tokens"]
PIECES += ["benchmark", "agreement", "stderr", "kl", "perplexity", "n"]
TURNS = ["model", "revision", "tier", "dtype", *SECURED, "twin", "spread", "apart", "attack", "adapts", "queries"]
TURNS += ["tokens", "seed", "benchmark", "agreement", "stderr", "kl", "perplexity", "n"]

# Benchmarks of the customer's model through a defence (runtime/served.py).
SERVED = ["model", "revision", "tier", "dtype", *SECURED, "rounding", "noise", "benchmark", "metric", "value", "stderr"]
SERVED += ["n", "chance", "shots", "task_version"]

# Scalars of a model's ends and of one decoder layer, counted from published shapes (doctor/ends.py).
ENDS = ["shape", "model_parameters", "layers", "embeddings", "head", "layer", "tied"]

# What a deployment costs (notebook 06), counted from shapes, by kind of work; but for memory each is a token's.
DEPLOYED = ["model", "revision", "tier", "dtype", *SECURED, "work", "pulls", "rows", "context"]
DEPLOYED += ["secret_bytes", "cache_bytes", "flops_inside", "sent", "received"]

# Every cell of the attack grid that was planned, run or not; one row a group and cell.
PLAN = ["group", "cell", "secured", "attack", "recipe", "queries", "seed"]

# Every customization cell that was planned, run or not; `run`: what cells that differ in their seed share.
CUSTOMERS = ["group", "cell", "run", "secured", "domain", "recipe", "seed"]

# What a published adapter or a public base gives a thief, one row a set of held-out texts. `known`: untouched (nobody
# tuned), hidden (tuned, the thief has the vendor's open part), published (he has the adapter), base (the vendor tuned a
# public model). `deployments`: how many he asks, their domains in `trained_on`. `distance` of the secured tensors from
# the untouched ones, relative to their norm.
ADAPTERS = ["cell", "model", "revision", "tier", "dtype", "secured", "share", "known", "deployments", "tuned"]
ADAPTERS += ["trained_on", "distance", "attack", "start", "recipe", "queries", "seed", "benchmark", "n"]
ADAPTERS += ["agreement_start", "agreement", "kl_start", "kl"]
ADAPTER_PLAN = ["group", "cell", "secured", "known", "tuning", "trained_on", "named", "seed"]  # named: the attack

# Beside the cells of a grid: which text of configs/hypotheses.yaml stood when a cell began, at which commit ("+": with
# changes).
REGISTERED = ["cell", "sha256", "commit"]

# Agreement that costs nothing: how often counts over public text guess the victim's next token, by held-out set.
FLOOR = ["model", "revision", "tier", "dtype", "benchmark", "predictor", "agreement", "n"]

# Distillation difficulty, one row a (kind, secured set, start, seed); seed "mean" averages the seeds. `calibrated`,
# where it was measured: what is left of DD after fitting one temperature (first seed).
DD = ["model", "revision", "tier", "dtype", "kind", *SECURED, "start", "seed", "dd", "stderr", "n", "calibrated"]

# Scores of secured sets without any training (difficulty/scores.py), one row a (secured set, score). `texts`, `tokens`:
# what it reads; `flops`: of this score alone; `way`: how the curvature's products were taken.
SET_SCORES = ["model", "revision", "tier", "dtype", *SECURED, "score", "value", "texts", "tokens", "flops", "way"]

# What noise on what is secret leaves (grid/exactness.py), one row a size and set of held-out texts. `noise`: in
# standard deviations of each secret matrix; `state_error`: of the states that leave, relative, without first tokens.
EXACTNESS = ["model", "revision", "tier", "dtype", *SECURED, "noise", "seed", "state_error"]
EXACTNESS += ["benchmark", "agreement", "kl", "n", "greedy_match", "prompts"]

# The same noise rounded to the grid of the victim's quantisation (grid/snapping.py), one row a size. `levels_right`: of
# all levels; errors of weights in standard deviations of each matrix, of states as above.
SNAPPING = ["model", "revision", "tier", "dtype", *SECURED, "noise", "seed", "levels_right"]
SNAPPING += ["weight_error", "snapped_weight_error", "state_error", "snapped_state_error"]

# What SEM leaves of such noise, where it begins beside the victim's own layer (grid/basin.py), one row a size. Errors
# of states as above, before and after: on texts that it trains on, and on held-out prompts.
BASIN = ["model", "revision", "tier", "dtype", *SECURED, "noise", "seed", "texts", "steps"]
BASIN += ["own_start", "held_out_start", "own_end", "held_out_end"]

# The linear map on a victim as packaged and off the grid of its quantisation (grid/off_grid.py), one row a victim, set
# and number of texts. `victim_agrees`: this victim with the packaged one; `agreement`, `kl`: the replica with this one.
OFF_GRID = ["model", "revision", "tier", "dtype", *SECURED, "victim", "seed", "victim_agrees", "victim_perplexity"]
OFF_GRID += ["queries", "tokens", "benchmark", "agreement", "stderr", "kl", "n"]

# Recipes that customers might take, tried on validation problems (grid/tuning.py), one row a try. `kl`: from the
# untouched model on general texts; `sums_...`: share of one-digit sums, of `sums`, that is written right.
TRIES = ["model", "revision", "tier", "dtype", "trained_on", "recipe", "learning_rate", "steps", "seed", "n"]
TRIES += ["validation_cross_entropy", "validation_exact_match", "sums_before", "sums_after", "sums", "kl"]

# What notebook 00 computes of Theorem 1: by step of the proof, for a spectral norm D, after `depth` layers, with a
# wrong layer at `place` (0-based), the theorem's alpha. Blank where a quantity has none.
THEORY = ["step", "quantity", "norm", "alpha", "depth", "place", "value"]
# The same on a real decoder: by depth (0 is what enters layer 0), for the victim and with the layer at `place` random.
THEORY_LAYERS = ["model", "revision", "dtype", "variant", "place", "depth", "quantity", "value", "n"]


SMALL = 200_000  # bytes of a file that is kept once read
MANY = 2000  # of them
_KNOWN: dict[tuple, pd.DataFrame] = {}
AGAIN = "delete it and run `dvc repro`"
RERUN = "delete the file to run the cell again"
MEASURED = {"value", "dd", "agreement", "kl"}  # columns that no row may lack


def write(rows: list[dict] | pd.DataFrame, columns: list[str], path: Path) -> pd.DataFrame:
    """Write rows as CSV in the given column order, whole or not at all.

    Raises StudyError on a wrong column, and on a MEASURED value that is no number: a broken model scores 0 %
    everywhere, which would read as secure. The same on what may not stand in a column, see core/columns.py.
    """
    table = pd.DataFrame(rows)
    if set(table.columns) != set(columns):
        wrong = sorted(set(table.columns) ^ set(columns))
        raise StudyError(f"{path}: columns {wrong} do not fit core/schema.py; mend that or the writer")
    for name in MEASURED & set(columns):
        broken = ~np.isfinite(table[name].astype(float))
        if broken.any():
            row = table[broken].iloc[0]
            of = ", ".join(str(row[key]) for key in ("benchmark", "split", "metric", "secured", "seed") if key in row)
            raise StudyError(f"{path}: {name} of {of} is {row[name]}; nothing was written, mend what was measured")
    if wrong := fault(table, columns):
        raise StudyError(f"{path}: row {wrong[0] + 1}: {wrong[1]}; nothing was written, mend what was measured")
    with files.whole(path) as partial:
        # Ten digits: one formula by two libraries differed by at most 3e-15 of the value, which no file then shows.
        table[columns].to_csv(partial, index=False, float_format="%.10g")
    return table[columns]


def read(path: Path, columns: list[str], fix: str = AGAIN) -> pd.DataFrame:
    """Read a result file. Raises StudyError with `fix` when it is missing or no table, has other columns, was cut, or
    holds what may not stand there (core/columns.py), naming the line.

    A report asks for the same few hundred cells again and again: what was found right is known by its bytes.
    """
    if not path.exists():
        raise StudyError(f"{path}: missing; run `dvc repro` first")
    if (digest := _digest(path)) is None:
        return _checked(path, columns, fix)
    if (key := (digest, *columns)) not in _KNOWN:
        table = _checked(path, columns, fix)
        if len(_KNOWN) >= MANY:
            _KNOWN.clear()
        _KNOWN[key] = table
    return _KNOWN[key].copy()


def _digest(path: Path) -> bytes | None:
    """sha256 of a small file; None of a large one, and of what cannot be read, which the reader names."""
    try:
        return hashlib.sha256(path.read_bytes()).digest() if path.stat().st_size <= SMALL else None
    except OSError:
        return None


def _checked(path: Path, columns: list[str], fix: str) -> pd.DataFrame:
    """See `read`."""
    table = readers.read_csv(path, fix, dtype=dtypes(columns))
    if list(table.columns) != columns:
        lacking = [name for name in columns if name not in table] or [name for name in table if name not in columns]
        what = f"'{lacking[0]}'" if lacking else "their order"
        raise StudyError(f"{path}: columns do not fit core/schema.py ({what}), so another version made it; {fix}")
    if table.empty:
        raise StudyError(f"{path}: no rows; {fix}")
    if wrong := fault(table, columns):
        line = readers.csv_lines(readers.read_text(path, fix), path, fix)[wrong[0] + 1]
        raise StudyError(f"{path}: line {line}: {wrong[1]}; {fix}")
    if columns == SCORES and (lacking := unfinished(table)):
        raise StudyError(f"{path}: cut ({lacking}); {fix}")
    return table
