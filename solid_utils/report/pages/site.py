"""All pages of a report as text, by file; and the CSV files that only pages show."""

import dataclasses
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from solid_utils.core import paths
from solid_utils.core.rooms import PACKAGE
from solid_utils.report.pages import home, items
from solid_utils.report.pages.chapters import CHAPTERS
from solid_utils.report.pages.study import Block, Study

LOOK = Path(__file__).with_name("look")
STUDY_LOOK = PACKAGE / "core" / "study"  # shared with the executed notebooks
HOME = "report.html"
NOTEBOOKS = "../build/executed/index.html"  # seen from results/, which `make study` fills as it executes notebooks


def environment() -> Environment:
    """A field that a template names and that is not given is an error, and text is escaped but for Markup."""
    look = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=FileSystemLoader(LOOK), keep_trailing_newline=True, **look)


def files(study: Study, missing: list[str], machine: dict[str, str], out: Path) -> dict[str, str]:
    """Every text file of the site by its place in the report's folder `out`; report.html comes last."""
    made = environment()
    drill = items.pages(study)
    study = dataclasses.replace(study, made=study.made | drill.keys())
    shared = {"chapters": CHAPTERS, "machine": machine, "raster": raster(study)}
    shared["notebooks"] = NOTEBOOKS if out == paths.RESULTS else ""
    pages = {chapter.file: (chapter.name, chapter.title, chapter.asks, chapter.blocks(study)) for chapter in CHAPTERS}
    for place, blocks in drill.items():
        run = place.removeprefix("pages/items-").removesuffix(".html")
        pages[place] = ("attacks", f"Items of {run}", "Which items the attack won, and which it lost.", blocks)
    written = {"pages/study.css": (STUDY_LOOK / "study.css").read_text(encoding="utf8")}
    written["pages/tables.js"] = (LOOK / "tables.js").read_text(encoding="utf8")
    template = made.get_template("chapter.html.j2")
    for place, (name, title, asks, blocks) in pages.items():
        own = {"here": name, "title": title, "asks": asks, "blocks": blocks, "root": "../"}
        written[place] = template.render(shared | own)
        written |= csv_files(blocks)
    own = {"here": "", "title": "What was found", "blocks": [], "root": ""}
    own |= {"models": study.results.models, "firsts": home.firsts(study), "missing": missing}
    written[HOME] = made.get_template("home.html.j2").render(shared | own)
    return written


def csv_files(blocks: list[Block]) -> dict[str, str]:
    """The rows of grids that are no table of the report."""
    grids = [grid for block in blocks for grid in block.grids if grid.data is not None]
    return {grid.csv: csv(grid.data) for grid in grids}


def csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def raster(study: Study) -> list[str]:
    """Figures that stay PNG."""
    return [one.file for group in study.pictures.values() for one in group if not one.svg]
