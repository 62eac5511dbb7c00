"""What pages are made from, and the pieces that they are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from markupsafe import Markup

from solid_utils.report.pages import costs, grid
from solid_utils.report.pages.grid import Grid, Links
from solid_utils.report.pages.standing import Standing
from solid_utils.report.results import Results
from solid_utils.report.tables.statements import numbered, steps


@dataclass(frozen=True)
class Study:
    """A report's parts. pictures: by figure, of each model. made: files that the report's folder will hold."""

    results: Results
    tables: Mapping[str, pd.DataFrame]
    pictures: Mapping[str, list]
    made: frozenset[str]

    @cached_property
    def costs(self) -> pd.DataFrame:
        """What each secured set costs each attack: costs.spent."""
        return costs.spent(self.tables["attack_points"])

    @cached_property
    def standing(self) -> Standing:
        """Where that stands which verdicts stand on."""
        return Standing(self.tables, numbered(steps(self.results.folder, self.results.models[0])))

    def grid(self, name: str) -> Grid:
        """A table of the catalogue, its figures below it."""
        from solid_utils.report import figures  # seconds to import, and the catalogue of chapters needs none

        below = [one for figure in figures.below(name) for one in self.pictures.get(figure.name, [])]
        return grid.of_table(self.standing.table(name), self.tables[name], below, self.links(name))

    def links(self, name: str) -> Links:
        """Which cells of a table are links, by heading."""
        if name == "attacks":
            return {"run": self.to_items}
        if name == "claims":
            return {"stands on": self.standing.to_cells}
        if name == "statements":
            pieces = self.standing.to_pieces
            return {"rests on": self.standing.to_rested, "evidence": pieces, "strongest attack": pieces}
        if name == "published":
            return {"paper's": self.to_paper, "beside it here": self.to_files, "audit": to_points}
        return {}

    def to_items(self, run: str, place: int) -> str | Markup:
        """A run's name, as a link to its items where they have a page."""
        there = item_page(self.tables["attacks"].iloc[place - 1]["model"], run)
        return grid.anchor(f"../{there}", run) if there in self.made else run

    def to_paper(self, item: str, _: int) -> str | Markup:
        """ "table_14" as a link to the published table."""
        place = f"tables/paper/{item}.html"
        return grid.anchor(f"../{place}", item) if place in self.made else item

    def to_files(self, text: str, _: int) -> Markup:
        """Each file of the report that is named, as a link."""
        return grid.words(text, lambda word: f"../{word}" if word in self.made else None)


def to_points(text: str, _: int) -> Markup:
    """Points of the audit as links to where they are computed."""
    return grid.words(text, lambda word: f"audit.html#point_{word}" if word.isdigit() else None)


def item_page(model: str, run: str) -> str:
    """The page of a run's items, as seen from the report's folder."""
    return f"pages/items-{model}-{run}.html".replace(" ", "_")


@dataclass(frozen=True)
class Block:
    """A heading of a chapter and what stands below it. code: text that is shown as it is."""

    name: str
    title: str
    paragraphs: tuple[str | Markup, ...] = ()
    grids: list[Grid] = field(default_factory=list)
    code: str = ""
