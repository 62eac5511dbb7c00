"""The report: tables, figures, headline numbers and one HTML page from a results folder, with no model.

python -m solid_utils.report            build from results/, else from the shipped run in reference/; print the tables
python -m solid_utils.report FOLDER     build from another results folder, in build/report/
python -m solid_utils.report --print    print the main tables of an existing build
"""

import argparse
import html
import json
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pandas as pd

from solid_utils.core import files, machine, paths
from solid_utils.core.errors import StudyError
from solid_utils.metrics import intervals
from solid_utils.report import catalogue, ratios, results, verdicts

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>SOLID, re-executed: $models</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
  p, li { max-width: 52rem; }
  h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
  div.wide { overflow-x: auto; }
  table.study { border-collapse: collapse; font-size: 0.82rem; font-variant-numeric: tabular-nums; }
  table.study th { text-align: left; border-bottom: 2px solid #888; padding: 0.3rem 0.6rem; vertical-align: bottom; }
  table.study td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.6rem; vertical-align: top; }
  #T_claims td { min-width: 7rem; }
  figure { margin: 1.5rem 0; }
  figcaption { max-width: 52rem; color: #444; }
  footer { margin-top: 3rem; color: #666; font-size: 0.85rem; }
</style>
</head>
<body>
<h1>SOLID, re-executed</h1>
<p>Models: $models. Which layers of a language model must be secured so that it cannot be distilled, while customers can
still fine-tune the rest? Every number below comes from this run's files; a number on a small model and a small budget
is not the paper's number, and is never compared with it as if it were.</p>
$missing
<h2>Paper said, we measured, verdict</h2>
<p>An attack that succeeds on a small budget shows that a set of layers is not secure. One that fails on a small budget
shows nothing, so it never makes a claim "supported".</p>
<div class="wide">$table_claims</div>
<h2>Attacks</h2>
<p>Agreement is the share of held-out answer tokens where replica and victim would say the same; "start" is before any
query, so "recovered" = (after - start) / (100 - start). ADR is the paper's ratio of scores, replica to victim: A
averages the ratios (section 5.1), B divides the averages (its Tables 26 to 42), C and D are the means over domains of A
and of B; delta ADR is A above that of the fully secured deployment. "corr." is the chance-corrected ratio: 0 is
guessing, 100 the victim. "floor" scores the highest of guessing, a constant answer and a random model, as far as they
were measured. KL and CE (cross-entropy) are in nats.</p>
<p>$covered</p>
<div class="wide">$table_attacks</div>
<details><summary>Fidelity on each set of prompts</summary><div class="wide">$table_fidelity</div></details>
$figure_agreement
$figure_training
$figure_ratios
<h2>What theft costs</h2>
<p>The cost of recovering a share of what was missing: that of the first of two consecutive points of a curve past it,
where every point ends its own schedule. Not reached: the most that was spent is a lower bound. A run of the small tier
has one such point, so all its levels are lower bounds, however far it came.</p>
<div class="wide">$table_attack_cost</div>
<p>The same attacks at equal budgets: what was recovered in percent, and by which.</p>
<div class="wide">$table_attack_budgets</div>
$figure_recovered_by_queries
$figure_cost_by_depth
<details><summary>Does distillation difficulty rank the cost?</summary>
<div class="wide">$table_difficulty_ranks</div></details>
<h3>The attack grid</h3>
<p>Cells of one attack run each, on agreement alone, which the points above include. One seed more is one row of numbers
more, so what a single seed shows may be its luck.</p>
<div class="wide">$table_grid_recipes</div>
<div class="wide">$table_grid_tuned</div>
<div class="wide">$table_grid_placement</div>
<details><summary>Planned, run and not reached</summary><div class="wide">$table_grid_cells</div></details>
<p>Where a deployment shows logits alone, they still lie in as many dimensions as the head's input has (Carlini et al.
2024; not in the paper), so that the head is known but for a square matrix of that width. Fresh noise hides the end of
the spectrum, and averages out where the two best tokens do not tie in bfloat16.</p>
<div class="wide">$table_leaks</div>
<h2>Benchmarks</h2>
<p>$signal Those with a star do not, and are left out of every ratio. Scores in percent, with standard errors over
items.</p>
<div class="wide">$table_benchmarks</div>
<details><summary>Ratios by domain and benchmark</summary><div class="wide">$table_ratios</div></details>
<h2>Distillation difficulty</h2>
<p>DD is the loss, in nats, after the secured part is replaced by fresh random weights. SOLID secures the smallest
prefix whose DD reaches (1 - epsilon) of the ceiling, the DD with every parameter replaced.</p>
<div class="wide">$table_search</div>
$figure_difficulty_prefix
$figure_difficulty_single
$figure_difficulty_choices
$figure_difficulty_recovered
<details><summary>All secured sets</summary><div class="wide">$table_difficulty</div></details>
<h2>Customization</h2>
<p>The customer fine-tunes what is open. What SOLID costs is the gap to the fully open deployment.</p>
<div class="wide">$table_customization</div>
$figure_customization
<footer>Made on: $machine. Tables as CSV in tables/, figures in figures/, headline numbers in metrics.json.</footer>
</body>
</html>
""")


@dataclass(frozen=True)
class Shown:
    """HTML with a plain-text twin, as notebooks display it."""

    markup: str
    text: str

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.text


class Report:
    """Everything that can be said about one results folder. Raises StudyError when it holds no model's results."""

    def __init__(self, source: Path | str):
        self.results = results.load(Path(source))
        self.tables = catalogue.make(self.results)
        self.missing = self.results.missing

    def table(self, name: str) -> Shown:
        """A table as it stands on the page, with the sentence that reads it."""
        table, rows = catalogue.TABLES[name], self.tables[name]
        reading = table.sentence(rows)
        if rows.empty:
            return Shown(f"<p>{reading}</p>", reading)
        shown = table.compact(rows)
        styled = shown.style.hide(axis="index").set_uuid(name).format(escape="html").map(_verdict_colour)
        styled = styled.set_table_attributes('class="study"').apply(_alignment, axis=0)
        return Shown(f"{styled.to_html()}<p>{html.escape(reading)}</p>", f"{shown.to_string(index=False)}\n{reading}")

    def figure(self, name: str) -> Shown:
        """A figure, once for every model, each with its sentence."""
        drawn = self.drawn(name)
        if not drawn:
            missing = f"{name}: no numbers for this figure."
            return Shown(f"<p>{missing}</p>", missing)
        return Shown("\n".join(one.markup for one in drawn), "\n".join(f"{one.file}: {one.sentence}" for one in drawn))

    def drawn(self, name: str) -> list:
        from solid_utils.report import figures  # 2 s to import, and printing tables draws nothing

        found = [figures.draw(name, self.tables, model) for model in self.results.models]
        return [one for one in found if one is not None]

    def metrics(self) -> dict[str, float]:
        """The few headline numbers, flat, for `dvc metrics show`."""
        wanted = {
            "search": ["l_star", "dd", "ceiling"],
            "attacks": ["agreement", *ratios.with_ends("recovered_share", "chance_corrected_ratio")],
            "customization": ["after", *ratios.with_ends("gap_to_fully_open")],
        }
        found = {}
        for name, columns in wanted.items():
            rows = self.tables[name]
            if name == "attacks":
                rows = rows.dropna(subset="recovered_share")  # not the victim and guessing
            if name == "customization":
                rows = rows[rows["benchmark"] == "all"]
            for row in rows.to_dict("records"):
                label = row["start"] if name == "search" else row["run"]
                found |= {f"{row['model']}/{label}/{column}": row[column] for column in columns}
        return {key: round(float(value), 6) for key, value in found.items() if not pd.isna(value)}

    def write(self, out: Path | str) -> Path:
        """Write tables/*.csv, figures/*.png, metrics.json and report.html under `out`; returns the page's path."""
        from solid_utils.report import figures

        out = Path(out)
        for folder, ending in (("tables", "csv"), ("figures", "png")):
            (out / folder).mkdir(parents=True, exist_ok=True)
            for old in (out / folder).glob(f"*.{ending}"):
                old.unlink()
        for name, table in self.tables.items():
            with files.whole(out / "tables" / f"{name}.csv") as partial:
                table.to_csv(partial, index=False, float_format="%.10g")
        drawn = {name: self.drawn(name) for name in figures.FIGURES}
        for one in (one for group in drawn.values() for one in group):
            with files.whole(out / "figures" / one.file) as partial:
                partial.write_bytes(one.png)
        files.write_json(self.metrics(), out / "metrics.json", indent=2)
        page = out / "report.html"
        files.write_text(self.page(drawn), page)
        return page

    def page(self, drawn: dict[str, list]) -> str:
        """The whole report as one HTML file that needs nothing else."""
        parts = {f"table_{name}": self.table(name).markup for name in catalogue.SHOWN}
        parts |= {f"figure_{name}": "\n".join(one.markup for one in group) for name, group in drawn.items()}
        notes = "".join(f"<li>{html.escape(line)}</li>" for line in self.missing)
        missing = f"<h2>Not there</h2><ul>{notes}</ul>" if notes else ""
        facts = " · ".join(f"{html.escape(key)} {html.escape(value)}" for key, value in self.machine().items())
        models = html.escape(", ".join(self.results.models))
        parts |= {"signal": ratios.SIGNAL_RULE, "covered": intervals.RULE}
        return PAGE.substitute(parts, models=models, missing=missing, machine=facts)

    def machine(self) -> dict[str, str]:
        """The machine of a shipped run, as recorded with it; else this one."""
        recorded = self.results.folder / "machine.json"
        if recorded.exists():
            return json.loads(recorded.read_text())
        from solid_utils.settings import params  # imports torch

        return machine.describe(params.load().threads)


def _verdict_colour(text: str) -> str:
    colours = {verdicts.SUPPORTED: "#d5ecdf", verdicts.CONTRADICTED: "#f7d9c4", verdicts.NOT_TESTED: "#e6e6e6"}
    return f"background-color: {colours[text]}; font-weight: 600" if text in colours else ""


def _alignment(column: pd.Series) -> list[str]:
    """Numbers to the right, words to the left."""
    numbers = column.str.fullmatch(r"[-+±.,\[\]\d ]*").all()
    return [f"text-align: {'right' if numbers else 'left'}; vertical-align: top"] * len(column)


def read_built(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of an existing build. Raises StudyError when one is missing."""
    made = {}
    for name in catalogue.SHOWN:
        path = folder / "tables" / f"{name}.csv"
        if not path.exists():
            raise StudyError(f"{path}: missing; run `make tables` first")
        made[name] = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return made


def chosen() -> tuple[Path, Path]:
    """(source, out): results/ where there are scores, else the first shipped run. StudyError when there is neither."""
    if any(paths.RESULTS.glob("runs/*/**/scores.csv")):
        return paths.RESULTS, paths.RESULTS
    shipped = sorted(path.parent for path in paths.REFERENCE.glob("*/machine.json"))
    if not shipped:
        raise StudyError("results/: no scores there, and no shipped run in reference/; run `make study` first")
    return shipped[0], paths.REDRAWN


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables, figures and report from results/, else from reference/.")
    parser.add_argument("folder", nargs="?", type=Path, help="a results folder elsewhere; built in build/report/")
    parser.add_argument("--print", action="store_true", help="print the main tables of an existing build")
    asked = parser.parse_args()
    if asked.print:
        folder = paths.RESULTS if (paths.RESULTS / "tables").is_dir() else paths.REDRAWN
        print(f"{catalogue.printed(read_built(folder))}\n\nreport: {folder / 'report.html'}")
        return
    source, out = (asked.folder, paths.REDRAWN) if asked.folder else chosen()
    report = Report(source)
    page = report.write(out)
    notes = "".join(f"\n{line}" for line in report.missing)
    print(f"{catalogue.printed(report.tables)}{notes}\n\nfrom {source}/, report: {page}")
