"""The report: tables, figures, headline numbers and pages from a results folder, with no model.

python -m solid_utils.report            build from results/, else from the shipped run in reference/; print the tables;
                                        from the shipped run the numbers of README and docs/ are written too
python -m solid_utils.report FOLDER     build from another results folder, in build/report/
python -m solid_utils.report --print    print the main tables of an existing build
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from solid_utils.core import files, folders, machine, paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.report import catalogue, documents, page, paper_tables, ratios, results
from solid_utils.report.page import Shown
from solid_utils.report.pages import site
from solid_utils.report.pages.study import Study

STALE = (
    "tables/*.csv",
    "tables/paper/*",
    "figures/*.png",
    "figures/*.svg",
    "figures/paper/*",
    "pages/*.html",
    "pages/csv/*.csv",
)  # of an older report, where a new one lacks them


class Report:
    """Everything that can be said about one results folder. Raises StudyError when it holds no model's results."""

    def __init__(self, source: Path | str):
        self.results = results.load(Path(source))
        self.tables = catalogue.make(self.results)
        self.missing = self.results.missing
        self.drawn: dict[str, list] = {}  # a notebook shows figures that the page shows again

    def table(self, name: str) -> Shown:
        """A table as it stands on the page, with the sentence that reads it."""
        return page.shown(catalogue.TABLES[name], self.tables[name])

    def figure(self, name: str) -> Shown:
        """A figure, once for every model, each with its sentence."""
        pictures = self.pictures(name)
        if not pictures:
            missing = f"{name}: no numbers for this figure."
            return Shown(Markup("<p>{}</p>").format(missing), missing)
        text = "\n".join(f"{one.file}: {one.sentence}" for one in pictures)
        return Shown(Markup("\n").join(one.markup for one in pictures), text)

    def section(self, name: str) -> Shown:
        """All tables of a section in order, each followed by its figures, as on the page but without its prose."""
        from solid_utils.report import figures

        parts = []
        for table in catalogue.SECTIONS[name].shown:
            parts.append((table.name, self.table(table.name)))
            parts += [(figure.name, self.figure(figure.name)) for figure in figures.below(table.name)]
        return page.together(parts)

    def pictures(self, name: str) -> list:
        """A figure's pictures, one of each model that has numbers for it, or one of all; drawn once."""
        from solid_utils.report import figures  # 2 s to import, and printing tables draws nothing

        if name not in self.drawn:
            models = [figures.ALL] if figures.FIGURES[name].across else self.results.models
            made = [figures.picture(name, self.tables, model) for model in models]
            self.drawn[name] = [one for one in made if one is not None]
        return self.drawn[name]

    def metrics(self) -> dict[str, float]:
        """The few headline numbers, flat, for `dvc metrics show`."""
        wanted = {
            "search": ["l_star", "dd", "ceiling"],
            "attacks": ["agreement", *ratios.with_ends("recovered_share", "chance_corrected_ratio")],
            "customization": ["after", *ratios.with_ends("gap_to_fully_open")],
        }
        values = {}
        for name, columns in wanted.items():
            rows = self.tables[name]
            if name == "attacks":
                rows = rows.dropna(subset="recovered_share")  # not the victim and guessing
            if name == "customization":
                rows = rows[rows["benchmark"] == "all"]
            for row in rows.to_dict("records"):
                label = row["start"] if name == "search" else row["run"]
                values |= {f"{row['model']}/{label}/{column}": row[column] for column in columns}
        return {key: round(float(value), 6) for key, value in values.items() if not pd.isna(value)}

    def write(self, out: Path | str) -> Path:
        """Write tables/, figures/, pages/, metrics.json and report.html under `out`; returns the first page's path.

        An older report there stays until all of the new one is made.
        """
        from solid_utils.report import figures

        out = Path(out)
        pictures = {name: self.pictures(name) for name in figures.FIGURES}
        with folders.together(out, stale=STALE) as made:
            for name, table in self.tables.items():
                with files.whole(made / "tables" / f"{name}.csv") as partial:
                    table.to_csv(partial, index=False, float_format="%.10g")
            papers = self.paper_tables()
            for name, text in papers.items():
                files.write_text(text, made / "tables" / "paper" / name)
            for one in (one for group in pictures.values() for one in group):
                _draw(one, made / "figures")
            files.write_json(self.metrics(), made / "metrics.json", indent=2)
            for name, text in self.pages(pictures, papers, out).items():
                files.write_text(text, made / name)
        return out / site.HOME

    def paper_tables(self) -> dict[str, str]:
        """The paper's tables and ours beside them, as HTML and LaTeX: text by the file's name."""
        return paper_tables.files(self.results.models, self.tables, catalogue.TABLES)

    def pages(self, pictures: dict[str, list], papers: Iterable[str], out: Path) -> dict[str, str]:
        """All pages and what lies beside them, by file in `out`. `papers`: names of files in tables/paper."""
        files_there = [f"tables/{name}.csv" for name in self.tables] + [f"tables/paper/{name}" for name in papers]
        files_there += [f"figures/{one.file}" for group in pictures.values() for one in group]
        study = Study(self.results, self.tables, pictures, frozenset(files_there))
        return site.files(study, self.missing, self.machine(), out)

    def machine(self) -> dict[str, str]:
        """The machine of a shipped run, as recorded with it; else this one."""
        recorded = self.results.folder / "machine.json"
        if recorded.exists():
            return machine.read(recorded)
        from solid_utils.settings import params  # imports torch

        return machine.describe(params.load().threads)


def _draw(one, folder: Path) -> None:
    """A figure's files."""
    with files.whole(folder / one.file) as partial:
        partial.write_bytes(one.png)
    if one.svg:
        with files.whole(folder / one.shown) as partial:
            partial.write_bytes(one.svg)


def read_built(folder: Path) -> dict[str, pd.DataFrame]:
    """The shown tables of an existing build. Raises StudyError when one is missing."""
    made = {}
    for name in catalogue.SHOWN:
        path = folder / "tables" / f"{name}.csv"
        if not path.exists():
            raise StudyError(f"{path}: missing; run `make tables` first")
        made[name] = readers.read_csv(path, "run `make tables` again")
    return made


def chosen() -> tuple[Path, Path]:
    """(source, out): results/ where there are scores, else the first shipped run. StudyError when there is neither."""
    if any(paths.RESULTS.glob("runs/*/**/scores.csv")):
        return paths.RESULTS, paths.RESULTS
    shipped = results.shipped()
    if not shipped:
        raise StudyError("results/: no scores there, and no shipped run in reference/; run `make study` first")
    return shipped[0], paths.REDRAWN


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables, figures and report from results/, else from reference/.")
    parser.add_argument("folder", nargs="?", type=Path, help="a results folder elsewhere; built in build/report/")
    parser.add_argument("--print", action="store_true", help="print the main tables of an existing build")
    options = parser.parse_args()
    if options.print:
        folder = paths.RESULTS if (paths.RESULTS / "tables").is_dir() else paths.REDRAWN
        print(f"{catalogue.printed(read_built(folder))}\n\nreport: {folder / 'report.html'}")
        return
    source, out = (options.folder, paths.REDRAWN) if options.folder else chosen()
    report = Report(source)
    target = report.write(out)
    if not options.folder and source != out:  # README and docs/ are about the shipped run, whatever yours says
        documents.write(source, out)
    notes = "".join(f"\n{line}" for line in report.missing)
    print(f"{catalogue.printed(report.tables)}{notes}\n\nfrom {source}/, report: {target}")
