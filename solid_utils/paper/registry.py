"""The registry of the paper's tables and figures: what each shows, and what stands beside it here.

configs/published.yaml holds it; its head says what the keys mean. No outcome is typed there: verdicts and budgets are
looked up in the tables of the report (report/tables/published.py).
"""

import functools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from solid_utils.core.errors import StudyError
from solid_utils.settings import reading
from solid_utils.settings.sections import Name, Section, validated

FILE = Path(reading.CONFIGS) / reading.REGISTRY
POINTS = 29  # of the audit, paper/audit.py
KEYS = (
    *(f"table_{number}" for number in range(1, 43)),
    *(f"figure_{number}" for number in (1, *range(3, 11))),  # 2 is a drawing without numbers
)
Point = Annotated[int, Field(ge=1, le=POINTS)]
Value = str | bool | int


class Item(Section):
    """One table or figure of the paper."""

    shows: Annotated[str, Field(min_length=1)]
    state: Literal["here", "partly", "needs_gpu", "needs_hub"]
    table: Name | None = None
    rows: dict[Name, Annotated[list[Value], Field(min_length=1)]] = {}
    figure: Name | None = None
    file: str | None = None
    needs: str = ""
    claims: list[Name] = []
    audit: list[Point] = []
    remark: str = ""

    @model_validator(mode="after")
    def says_what_it_must(self) -> "Item":
        if self.ran and not (self.table or self.figure or self.file):
            raise ValueError(f"state: {self.state} without a counterpart; name a table, a figure or a file")
        if not self.ran and (self.table or self.figure):
            raise ValueError(f"state: {self.state} beside a table or a figure; write partly, or leave them out")
        if (self.state == "here") == bool(self.needs):
            raise ValueError(f"state: {self.state} and needs do not fit; say what is needed unless all of it is here")
        if self.rows and self.table is None:
            raise ValueError("rows: of no table; name the table, or leave them out")
        if bool(self.audit) != bool(self.remark):
            raise ValueError("audit and remark stand together; write both, or neither")
        return self

    @property
    def ran(self) -> bool:
        """Did anything of it run here?"""
        return self.state in ("here", "partly")


@functools.cache  # every panel that has no numbers asks for it
def load(path: Path = FILE) -> dict[str, Item]:
    """Every item by its key, in the paper's order.

    Raises StudyError in one line: the file, the key, what is wrong, the fix.
    """
    raw = {key: value for key, value in reading.read_file(path).items() if not key.startswith("_")}
    if unknown := sorted(raw.keys() - set(KEYS)):
        raise StudyError(f"{path}: {unknown[0]}: no table or figure of the paper; write one of {KEYS[0]} to {KEYS[-1]}")
    if missing := [key for key in KEYS if key not in raw]:
        raise StudyError(f"{path}: {missing[0]}: missing; the registry names every table and figure, add it")
    return {key: validated(Item, raw[key], f"{path}: {key}") for key in KEYS}
