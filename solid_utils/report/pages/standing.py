"""Where what a verdict stands on is to be read: runs, cells, claims, hypotheses and steps as links to their rows."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd
from markupsafe import Markup

from solid_utils.report import catalogue
from solid_utils.report.pages.grid import anchor, words
from solid_utils.report.table import Table
from solid_utils.report.tables import evidence

PAGES = {"claims": "verdicts", "attacks": "attacks", "evidence": "attacks", "customization": "customization"}
PAGES |= {"equivalence": "customization", "hypotheses": "scale", "search": "difficulty", "difficulty": "difficulty"}
PAGES |= {"theory_summary": "theory"}
# Tables that name runs and cells: the column, and which row stands for the whole run. The first that has a name is it.
RUNS = {"attacks": ("run", {}), "evidence": ("name", {})}
RUNS |= {"customization": ("run", {"benchmark": "all"}), "equivalence": ("run", {"metric": "right"})}
OF_CLAIMS = {"solid_layers": "search", "epsilon": "difficulty", "solid_customization": "customization"}


@dataclass(frozen=True)
class Standing:
    """Links from verdicts. tables: of the report. steps: what notebook 00 computed, numbered; empty without."""

    tables: Mapping[str, pd.DataFrame]
    steps: pd.DataFrame

    @cached_property
    def named(self) -> frozenset[tuple[str, str]]:
        """(model, run or cell) that claims and statements name."""
        claims, pieces = self.tables["claims"], self.tables["statements"]
        found = set(zip(pieces["model"], pieces["evidence"], strict=True))
        for model, cells in zip(claims["model"], claims["cells"], strict=True):
            found |= {(model, name) for name in of(cells)}
        return frozenset(found)

    def table(self, name: str) -> Table:
        """A table of the catalogue; the page's evidence holds what verdicts name, however weak."""
        found = catalogue.TABLES[name]
        if name != "evidence":
            return found
        return dataclasses.replace(found, show=partial(evidence.shown, named=self.named))

    @cached_property
    def runs(self) -> dict[tuple[str, str], str]:
        """Where each run and cell of a model stands."""
        found: dict[tuple[str, str], str] = {}
        for name, (column, whole) in RUNS.items():
            rows = self.tables[name].reset_index(drop=True)
            there = rows.loc[self.table(name).compact(rows).index] if len(rows) else rows
            for own, value in whole.items():
                there = there[there[own] == value]
            for place, row in there.iterrows():
                found.setdefault((row["model"], row[column]), href(name, place))
        return found

    @cached_property
    def rested(self) -> dict[tuple[str, str], str]:
        """Where what statements rest on stands: each claim and hypothesis of a model, each step."""
        found = {}
        for name, column in (("claims", "key"), ("hypotheses", "hypothesis")):
            rows = self.tables[name]
            for place, (model, key) in enumerate(zip(rows["model"], rows[column], strict=True)):
                found.setdefault((model, key), href(name, place))
                found.setdefault(("", key), href(name, place))  # a hypothesis is asked of other victims, too
        quantities = self.steps.drop_duplicates(["step", "quantity"])
        for place, (step, quantity) in enumerate(zip(quantities["step"], quantities["quantity"], strict=True)):
            found.setdefault(("", f"step_{step}"), href("theory_summary", place))
            found[("", f"step {step}: {quantity}")] = href("theory_summary", place)
        return found

    def to_cells(self, text: str, place: int) -> Markup:
        """Runs and cells of a claim's row, as links; where it names none, the table that it is judged by."""
        claim = self.tables["claims"].iloc[place - 1]
        if text:
            return words(text, lambda name: self.runs.get((claim["model"], name)), ", ")
        name = OF_CLAIMS.get(claim["key"], "evidence")
        models = list(self.tables[name]["model"])
        there = href(name, models.index(claim["model"])) if claim["model"] in models and name != "evidence" else ""
        return anchor(there or f"{PAGES[name]}.html#{name}", name)

    def to_rested(self, text: str, place: int) -> Markup:
        """Claims, hypotheses and steps of a statement's row, as links."""
        model = self.tables["statements"].iloc[place - 1]["model"]
        return words(text, lambda key: self.rested.get((model, key)) or self.rested.get(("", key)))

    def to_pieces(self, text: str, place: int) -> Markup:
        """Pieces of evidence of a statement's row, as links: runs, cells, hypotheses of a victim, steps."""
        model = self.tables["statements"].iloc[place - 1]["model"]
        return words(text, lambda piece: self.piece(model, piece), "; ")

    def piece(self, model: str, text: str) -> str | None:
        """Where one of them stands: the table `statements` names them."""
        hypothesis, _, rest = text.partition(" ")
        places = [self.runs.get((model, text.partition(":")[0])), self.rested.get((rest.partition(" ")[0], hypothesis))]
        return next(filter(None, [*places, self.rested.get(("", text))]), None)


def of(cells: str) -> list[str]:
    """The names in a claim's `cells`."""
    return cells.split(", ") if cells else []


def href(table: str, place: int) -> str:
    """A row by its place in the table, from 0."""
    return f"{PAGES[table]}.html#{table}-{place + 1}"
