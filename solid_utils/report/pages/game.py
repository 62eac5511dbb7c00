"""The game between vendor and thief, in numbers: of each secured set the largest advantage that an attack had."""

import pandas as pd

from solid_utils.metrics.attack_cost import by_number
from solid_utils.report.pages import costs, grid
from solid_utils.report.pages.grid import Grid
from solid_utils.report.pages.study import Block, Study
from solid_utils.report.table import Columns, in_columns
from solid_utils.report.tables.evidence import strongest
from solid_utils.report.wording import percent

SET = ["model", "deployment", "secured"]
COLUMNS: Columns = {
    "named": ("what is secured", "text"),
    "above_floor_apart": ("thief's advantage %", "percent"),
    "attack": ("attack", "text"),
    "queries": ("questions", "count"),
    "agreement_apart": ("agreement %", "percent"),
    "floor_apart": ("public text alone %", "percent"),
    "name": ("run or cell", "text"),
}
RULES = (
    "A vendor names what is secured. A thief sees everything else and the states that leave it, asks q questions and "
    "hands in a replica. His advantage is (a - f) / (1 - f), on web text and code that no attack asks for: a is the "
    "replica's agreement with the victim, f what counts over public text give without a question. A set is secure at "
    "(q, ε) if no thief with q questions has an advantage above ε. Theorem 1 bounds no advantage; an attack bounds it "
    "from below. These are attacks of the default study, the grid and beyond; the scale study, on other texts, has "
    "stronger ones of some sets (chapter Scale)."
)


def made(study: Study) -> Block:
    """A row a secured set: its strongest attack, whatever the seed. Blank where no floor was counted."""
    best = thieves(study.tables["evidence"])
    shown = grid.as_text(in_columns(best, COLUMNS)) if len(best) else pd.DataFrame()
    table = Grid("game", "The largest advantage on each secured set", shown, "tables/evidence.csv", reads(best))
    return Block("on_game", "SOLID as a game", (RULES,), [table])


def thieves(evidence: pd.DataFrame) -> pd.DataFrame:
    """Of each set its row of the table `evidence` with the largest advantage, under its index; `named`: as shown."""
    known = costs.by_set(evidence.dropna(subset="above_floor_apart"))
    best = strongest(known, SET).sort_values(SET, key=by_number, kind="stable")
    alike = best["deployment"] == best["secured"]
    return best.assign(named=best["secured"].where(alike, best["deployment"] + " (" + best["secured"] + ")"))


def reads(best: pd.DataFrame) -> str:
    """What a set is not, in a sentence: secure for an ε below the row's."""
    if best.empty:
        return "No attack has run whose floor was counted."
    above = best[best["above_floor_apart"] > 0]
    told = f"On {len(above)} of {len(best)} secured sets a thief that was tried came above public text."
    if above.empty:
        return told
    most = above.loc[above["above_floor_apart"].idxmax()]
    return (
        f"{told} The largest advantage, {percent(most['above_floor_apart'])}, was that of {most['attack']} on "
        f"{most['named']} with {most['queries']:,.0f} questions: that set is secure at that many for no smaller ε."
    )
