"""The outcomes of configs/hypotheses.yaml, from the scale study's cells: an estimate, its interval, a verdict."""

import numpy as np
import pandas as pd

from solid_utils.metrics.intervals import SEED
from solid_utils.metrics.paired_ranks import drawn, strengths
from solid_utils.report import scale
from solid_utils.report.hypothesis_paper import h5
from solid_utils.report.hypothesis_width import h4
from solid_utils.report.outcome import (
    AGAINST,
    FOR,
    NOT_RUN,
    TABLE,
    above_floor,
    by_text,
    corrected,
    row,
    said,
    verdict,
)
from solid_utils.report.scale import Scale
from solid_utils.settings.params import Hypothesis

LEAST_SETS = 12
SEM = ("sem", "ours", 400)
NEW = ("gemma-270m", "qwen-coder-0_5b", "qwen-coder-1_5b")  # as H1's `falsified` names them
UNSEEN = "unseen"  # the model of a row over those that nobody had looked at
RIVALS = {"place": "lowest", "size": "parameters", "zero-query KL": "c4_kl_start"}  # what DD is compared with


def h1(asked: Hypothesis, found: Scale, chosen: pd.DataFrame) -> list[dict]:
    """C4 agreement above the floor, first layer, by the attack that is best on prompts of its own kind."""
    rows = []
    for _, point in scale.single(chosen[chosen["lowest"] == 0]).iterrows():
        values, texts = above_floor(found, point, np.random.default_rng(SEED))
        limits = asked.threshold
        side = "supported_below" if values[0] < limits["supported_below"] else "falsified_above"
        cells = point.to_frame().T
        one = row("H1", asked, point["model"], said(point), texts.shape[1], values, limits[side], cells)
        supported = one["outcome_high"] < limits["supported_below"]
        falsified = one["outcome_low"] > limits["falsified_above"]
        rows.append(one | {"verdict": verdict(supported, falsified)})
    return [*rows, *over_new(asked, rows)]


def over_new(asked: Hypothesis, rows: list[dict]) -> list[dict]:
    """H1 over the new victims: falsified where so many of them stand above the threshold, supported where all lie below
    the other one. Shown by the victim that decides the first; no test of its own."""
    new = sorted((one for one in rows if one["model"] in NEW), key=lambda one: -one["outcome_low"])
    enough = int(asked.threshold["models"])
    if len(new) < enough:
        return []
    decides = new[enough - 1]
    what = f"the one that decides of {len(new)} new victims, number {enough} from above"
    supported = len(new) == len(NEW) and all(one["verdict"] == FOR for one in new)
    whole = {"model": scale.ALL, "what": what, "p": None, "confirmatory": all(one["confirmatory"] for one in new)}
    return [decides | whole | {"verdict": verdict(supported, decides["verdict"] == AGAINST)}]


def h2(asked: Hypothesis, found: Scale, chosen: pd.DataFrame) -> list[dict]:
    """C4 KL after the best attack at the first layer, less the median of the single layers that ran, text by text."""
    rows = []
    for model, mine in scale.single(chosen).groupby("model", sort=False):
        mine = mine.sort_values("lowest")
        if len(mine) < 3 or mine["lowest"].iloc[0] != 0:
            continue
        tables = [by_text(found, point, "kl") for _, point in mine.iterrows()]
        items = sorted(set.intersection(*[set(table.columns) for table in tables]))
        means = np.stack([table[items].mean().to_numpy() for table in tables])  # (places, texts), seeds averaged

        places = means[:, drawn(len(items), np.random.default_rng(SEED))].mean(2)  # (places, resamples)
        values = places[0] - np.median(places, axis=0)
        limit = asked.threshold["falsified_below"]
        one = row("H2", asked, model, f"{len(mine)} single layers", len(items), values, limit, mine)
        rows.append(one | {"verdict": FOR if one["outcome_low"] > limit else AGAINST})
    return rows


def h3(asked: Hypothesis, found: Scale, points: pd.DataFrame) -> list[dict]:
    """|rho| of DD with C4 KL after SEM with 400 queries, less that of each rival, over sets that have both: a victim by
    itself, then all of them as blocks, and those alone that nobody had looked at."""
    mine = points[(points[["attack", "recipe", "queries"]] == SEM).all(axis=1)]
    scored = found.difficulty[found.difficulty["seed"].astype(str) == "mean"]
    scored = scored[["model", "secured", "dd"]].drop_duplicates(["model", "secured"])
    ranked = mine.merge(scored, on=["model", "secured"])
    victims = {model: [sets] for model, sets in ranked.groupby("model", sort=False) if len(sets) >= LEAST_SETS}
    new = [sets for model, (sets,) in victims.items() if model in asked.confirmatory]
    if len(victims) > 1:
        victims[scale.ALL] = [sets for (sets,) in victims.values()]
    if 1 < len(new) < len(victims) - 1:
        victims[UNSEEN] = new
    rows = []
    for model, blocks in victims.items():
        strong = strengths(blocks, ["dd", *RIVALS.values()], "c4_kl")
        sets, limit = pd.concat(blocks), asked.threshold["falsified_below"]
        for rival, column in RIVALS.items():
            gain = (strong["dd"] - strong[column]).to_numpy()
            one = row("H3", asked, model, f"DD less {rival}", len(sets), gain, limit, sets)
            rows.append(one | {"verdict": FOR if one["outcome_low"] > limit else AGAINST})
    return rows


def table(asked: dict[str, Hypothesis], found: Scale) -> pd.DataFrame:
    """A row an outcome, columns TABLE; a hypothesis that nothing speaks to has one row, "not run"."""
    points = scale.points(found.cells)
    chosen = scale.best(points)
    made = {
        "H1": lambda one: h1(one, found, chosen),
        "H2": lambda one: h2(one, found, chosen),
        "H3": lambda one: h3(one, found, points),
        "H4": lambda one: h4(one, found, points),
        "H5": lambda one: h5(one, found),
    }
    rows = []
    for name, one in asked.items():
        outcomes = made[name](one) if len(points) else []
        blank = dict.fromkeys(TABLE) | {"hypothesis": name, "model": "none", "what": "", "verdict": NOT_RUN}
        rows += outcomes or [blank | {"confirmatory": False, "n": 0}]
    made_table = pd.DataFrame(rows, columns=TABLE)
    return made_table.assign(p_holm=corrected(made_table))
