"""Theorem 1, step by step: what notebook 00 computed, and what the theorem's verdict rests on."""

import pandas as pd

from solid_utils.report.pages import statements
from solid_utils.report.pages.grid import Grid
from solid_utils.report.pages.study import Block, Study
from solid_utils.report.tables.statements import numbered, steps

SAYS = {  # what each step of notebook 00 asks
    1: "Lemma 2 needs columns of S that sum to one, and softmax gives rows: the share of columns whose sum is off",
    2: "beta_D below one is not certain: the largest gain of S; beside it the repair, tau, and its bound",
    3: "alpha* comes from applying Lemma 2 to some layers only; applied to all, the bound falls for every alpha",
    4: "The victim collapses too: second over first singular value, of victim and replica",
    5: "A counter-example to part (1): a stack that keeps rank two wherever the wrong layer lies",
    6: "The proof's own example for part (2) has rank one: it is not parallel to 1, and no more",
    7: "With a causal mask all tokens go to the first one's direction",
    8: "Almost every K also holds for a perfect theft with a little noise",
    9: "What survives: a wrong layer matters exponentially less with depth; harm and its bound",
}
COLUMNS = ["step", "quantity", "norm", "alpha", "depth", "place", "value"]


def made(study: Study) -> list[Block]:
    """The theorem's verdict; a row a step and quantity; all that was computed. Empty where notebook 00 never ran."""
    verdict = statements.table(study, "theorem", "What the paper states on it", only="theorem")
    found = numbered(steps(study.results.folder, study.results.models[0]))
    if found.empty:
        return []
    said = "Notebook 00 computes each step of the proof, on layers drawn by a law that it fixes; no model is in it."
    blocks = [Block("on_theorem", "The theorem", (said,), [verdict])]
    return [*blocks, Block("on_steps", "Step by step", (), [summary(found), every(found)])]


def summary(found: pd.DataFrame) -> Grid:
    """From the least to the most of each quantity, over norms, depths and places."""
    lines = []
    for (step, quantity), rows in found.groupby(["step", "quantity"], sort=False):
        values = rows["value"]
        line = {"step": str(step), "what it asks": SAYS.get(step, ""), "quantity": quantity.replace("_", " ")}
        line |= {"values": str(len(rows)), "least": f"{values.min():.3g}", "most": f"{values.max():.3g}"}
        lines.append(line)
    shown = pd.DataFrame(lines)
    return Grid("theory_summary", "Steps of the proof", shown, "pages/csv/theory_summary.csv", data=shown)


def every(found: pd.DataFrame) -> Grid:
    rows = found[COLUMNS].astype(object)
    shown = rows.map(lambda value: "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value))
    folded = "Every value, by norm, alpha, depth and place of the wrong layer"
    csv = "pages/csv/theory_steps.csv"
    return Grid("theory_steps", "Every value of the steps", shown, csv, folded=folded, data=found[COLUMNS])
