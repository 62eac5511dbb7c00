"""How well scores without training rank secured sets by where an attack ended: configs/hypotheses_scores.yaml.

An outcome is KL on C4 after SEM with 400 queries, or after fine-tuning all layers; what the linear map comes to is
none, as some scores put it in the set's place. A score is judged by what it gains on DD: the difference of absolute
rank correlations over the same resampled sets, several models as blocks.
"""

import math

import numpy as np
import pandas as pd

from solid_utils.core import paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.metrics import intervals, metrics, paired_ranks
from solid_utils.report import scale
from solid_utils.report.scale import Scale
from solid_utils.settings.params import Hypothesis

OUTCOMES = {"SEM": ("sem", "ours", 400), "fine-tuning": ("ft_all", "ft", 240)}  # attack, recipe, queries
ASKED = {"SEM": "S1", "fine-tuning": "S2"}  # the hypothesis of each
LEAST_SETS = 12  # of a model
SCORES = ("residual", "centred_residual", "map_kl", "curvature", "nonlinearity", "effective_rank", "lookup")
# Mended after they had been computed once (docs/LOG.md), so no outcome was unseen by them.
MENDED = ("centred_residual", "nonlinearity", "effective_rank", "lookup")
# What was there before: DD, the same after one temperature where it was taken, layers, the lowest one, parameters, and
# what the attacker has before any query.
RIVALS = ("dd", "calibrated", "depth", "lowest", "parameters", "start_kl", "start_agreement")
RIVAL = "dd"
TABLE = ["model", "forecast_of", "score", "sets", "confirmatory", "rank", "rank_low", "rank_high"]
TABLE += [f"over_{rival}{end}" for rival in RIVALS for end in ("", "_low", "_high")]
TABLE += ["p", "p_holm", "texts", "flops", "seconds"]
FACTS = paths.REFERENCE / "facts.csv"


def sets(found: Scale, outcome: str) -> pd.DataFrame:
    """A row a model and secured set that has this outcome, DD and scores: SCORES and RIVALS as columns, `end` the
    outcome, `texts` and `flops_SCORE`."""
    if found.cells.empty:
        return pd.DataFrame(columns=["model", "secured", "end", "asked_before", *RIVALS, *SCORES, "texts"])
    points = scale.points(found.cells)
    mine = points[(points[["attack", "recipe", "queries"]] == list(OUTCOMES[outcome])).all(axis=1)]
    mine = mine.rename(columns={"c4_kl": "end", "c4_kl_start": "start_kl"}).merge(agreement(found), on=scale.POINT)
    known = found.difficulty[found.difficulty["seed"].astype(str) == "mean"]
    known = known[["model", "secured", "dd", "calibrated"]].drop_duplicates(["model", "secured"])
    kept = ["model", "secured", "end", "asked_before", *RIVALS[2:]]
    return mine[kept].merge(known, on=["model", "secured"]).merge(scored(found), on=["model", "secured"])


def agreement(found: Scale) -> pd.DataFrame:
    """`start_agreement` of each point: on C4 before any query, tokens pooled over texts and seeds."""
    texts = found.texts[(found.texts["benchmark"] == scale.SETS["c4"]) & (found.texts["steps"] == 0)]
    cells = scale.once(found.cells)[[*scale.WHERE, *scale.POINT[1:]]]
    named = texts.merge(cells, on=scale.WHERE, suffixes=("_text", ""))
    sums = named.groupby(scale.POINT, as_index=False)[["agreeing", "tokens"]].sum()
    return sums.assign(start_agreement=sums["agreeing"] / sums["tokens"])[[*scale.POINT, "start_agreement"]]


def scored(found: Scale) -> pd.DataFrame:
    """A row a model and secured set, its scores as columns, `flops_SCORE` and `texts` beside them.

    Raises StudyError where two machines have scores of one model: which of them are of today's definitions?
    """
    rows = found.scores
    for model, mine in rows.groupby("model"):
        if mine["machine"].nunique() > 1:
            several = " and ".join(sorted(mine["machine"].unique()))
            raise StudyError(f"{paths.SET_SCORES_FILE}: {model} has one of {several}; delete the older")
    keys = ["model", "secured"]
    values = rows.pivot(index=keys, columns="score", values="value").reindex(columns=SCORES)
    costs = rows.pivot(index=keys, columns="score", values="flops").reindex(columns=SCORES).add_prefix("flops_")
    return values.join(costs).join(rows.groupby(keys)["texts"].first()).reset_index()


def table(asked: dict[str, Hypothesis], found: Scale) -> pd.DataFrame:
    """A row an outcome, model and score, then the rivals, columns TABLE; `all` where several models are blocks.

    Models with fewer than LEAST_SETS sets that have all are left out.
    """
    rows = []
    for outcome, name in ASKED.items():
        rated = sets(found, outcome)
        counts = rated["model"].value_counts(sort=False)
        models = [model for model in rated["model"].unique() if counts[model] >= LEAST_SETS]
        blocks = {model: [rated[rated["model"] == model]] for model in models}
        if len(models) > 1:
            blocks[scale.ALL] = [block for (block,) in blocks.values()]
        for model, block in blocks.items():
            rows += judged(outcome, model, block, asked[name])
    return pd.DataFrame(rows, columns=TABLE)


def judged(outcome: str, model: str, blocks: list[pd.DataFrame], asked: Hypothesis) -> list[dict]:
    """The rows of one outcome and model, or of all models."""
    whole = pd.concat(blocks)
    there = [name for name in (*SCORES, *RIVALS) if whole[name].notna().all()]
    by_block = paired_ranks.signed(blocks, there, "end")
    drawn = paired_ranks.strength(by_block)
    rows = []
    for name in there:
        row = {"model": model, "forecast_of": outcome, "score": name, "sets": len(whole)}
        unseen = set(whole["model"]) <= set(asked.confirmatory) and bool(whole["asked_before"].all())
        row["confirmatory"] = unseen and name not in MENDED
        row |= rank(blocks, name, sum(one[name] for one in by_block).to_numpy() / len(blocks))
        for rival in RIVALS:
            if rival in there and rival != name:
                gain = (drawn[name] - drawn[rival]).to_numpy()
                low, high = paired_ranks.interval(gain)
                row |= {f"over_{rival}": gain[0], f"over_{rival}_low": low, f"over_{rival}_high": high}
        if name in SCORES:
            row["p"] = paired_ranks.turned((drawn[name] - drawn[RIVAL]).to_numpy())
            row["texts"] = whole["texts"].max()
            row["flops"] = whole[f"flops_{name}"].mean()
            row["seconds"] = seconds(name, model)
        rows.append(row)
    made = pd.DataFrame(rows, columns=TABLE)
    return made.assign(p_holm=paired_ranks.holm(made["p"])).to_dict("records")


def rank(blocks: list[pd.DataFrame], name: str, drawn: np.ndarray) -> dict:
    """Spearman's correlation with its interval: of one model by Fisher's z, of several their mean, resampled: a
    score that ranks one model up and another down says nothing, though its |rho| may be high."""
    if len(blocks) > 1:
        low, high = paired_ranks.interval(drawn)
        return {"rank": drawn[0], "rank_low": low, "rank_high": high}
    one = intervals.spearman(blocks[0][name].astype(float), blocks[0]["end"].astype(float))
    return {"rank": one.estimate, "rank_low": one.low, "rank_high": one.high}


def seconds(score: str, model: str) -> float:
    """What a set's score took alone, where it was written down (reference/facts.csv, score_NAME_MODEL); else nan."""
    if not FACTS.exists():
        return math.nan
    facts = readers.read_csv(FACTS, "mend it", dtype=str, na_values=[]).set_index("name")["value"]
    return float(facts.get(f"score_{score}_{model}", math.nan))


def moved(found: Scale, outcome: str) -> dict[str, int]:
    """Of how many `sets` an outcome is `nearer` to the victim than the attack's start was."""
    rated = sets(found, outcome)
    return {"sets": len(rated), "nearer": int((rated["end"] < rated["start_kl"]).sum())}


def met(rows: pd.DataFrame, strong: float) -> list[str]:
    """Of one outcome's and model's rows the scores that meet the goal, the best first."""
    scores = rows[rows["score"].isin(SCORES)]
    above = scores[[beats(row, strong) for _, row in scores.iterrows()]]
    return above.loc[above["rank"].abs().sort_values(ascending=False, kind="stable").index, "score"].tolist()


def contrast(found: Scale) -> pd.DataFrame:
    """S3, a row a model: what curvature gains on residual as a forecast of SEM's end, with its interval."""
    rated = sets(found, "SEM")
    rows = []
    for model, block in rated.groupby("model", sort=False):
        if len(block) >= LEAST_SETS and block[["curvature", "residual"]].notna().all(axis=None):
            drawn = paired_ranks.strengths([block], ["curvature", "residual"], "end")
            gain = (drawn["curvature"] - drawn["residual"]).to_numpy()
            low, high = paired_ranks.interval(gain)
            rows.append({"model": model, "sets": len(block), "gain": gain[0], "gain_low": low, "gain_high": high})
    return pd.DataFrame(rows, columns=["model", "sets", "gain", "gain_low", "gain_high"])


def groups(found: Scale) -> pd.DataFrame:
    """Within the sets that hold layer 0 and within the others, a row a model and score: Spearman's correlation with
    SEM's end, `bottom` and `rest`, and how many sets these are; nan below three."""
    rated = sets(found, "SEM")
    rows = []
    for model, block in rated.groupby("model", sort=False):
        if len(block) < LEAST_SETS:
            continue
        for name in block[[*SCORES, *RIVALS]].dropna(axis=1):
            row = {"model": model, "score": name}
            for group, mine in (("bottom", block[block["lowest"] == 0]), ("rest", block[block["lowest"] != 0])):
                values, end = mine[name].astype(float), mine["end"].astype(float)
                row |= {group: metrics.spearman(values, end), f"{group}s": len(mine)}
            rows.append(row)
    return pd.DataFrame(rows, columns=["model", "score", "bottom", "bottoms", "rest", "rests"])


def best(rows: pd.DataFrame) -> pd.Series:
    """Of one outcome's and model's rows the score without training that ranks best."""
    scores = rows[rows["score"].isin(SCORES)]
    return scores.loc[scores["rank"].abs().idxmax()]


def beats(row: pd.Series, strong: float) -> bool:
    """Does a score meet the goal: |rho| of at least `strong`, above DD's by an interval above zero?"""
    return bool(abs(row["rank"]) >= strong and row[f"over_{RIVAL}_low"] > 0)
