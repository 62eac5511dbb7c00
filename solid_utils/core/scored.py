"""Scores of a model and the items behind them, so that two models can be compared item by item."""

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from solid_utils.core import schema

LIBRARIES = ("torch", "transformers", "lm_eval")


@dataclass(frozen=True)
class Scored:
    """`rows` in schema.OUTCOME's columns; `items` {benchmark, item, value, weight}: a score is sum value / sum weight.

    An item's name is its position in the benchmark's item file, after its task where a benchmark has several; for
    fidelity it is the sample's id. `texts` {benchmark, item, tokens, agreeing, kl}: fidelity's samples, KL per token.
    """

    rows: list[dict] = field(default_factory=list)
    items: list[dict] = field(default_factory=list)
    texts: list[dict] = field(default_factory=list)

    def __add__(self, other: "Scored") -> "Scored":
        return Scored(self.rows + other.rows, self.items + other.items, self.texts + other.texts)

    def of(self, run: dict) -> "Scored":
        """The same with the columns that say what was run (schema.RUN and schema.COST)."""
        known = {column: run[column] for column in schema.ITEMS if column in run}
        rows, items, texts = self.rows, self.items, self.texts
        return Scored([run | row for row in rows], [known | item for item in items], [known | text for text in texts])

    def write(self, folder: Path) -> None:
        """scores.csv and items.csv, each whole or not at all."""
        schema.write(self.rows, schema.SCORES, folder / "scores.csv")
        schema.write(self.items, schema.ITEMS, folder / "items.csv")


@cache  # looked up on the disk, 10 ms each; a score has tens of rows
def libraries() -> str:
    """Versions of what a score hangs on: "torch 2.13.0, transformers 5.23.0, lm_eval 0.4.13"."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
