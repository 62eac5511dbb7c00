"""Numbers of the shipped run by name, as README and docs ask for them: each is read from a result file, none is typed.

What lies in no result file, such as the minutes that a command took, stands in `reference/facts.csv`, with the machine.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd
import yaml

from solid_utils.core import paths, readers, schema
from solid_utils.core.errors import StudyError
from solid_utils.metrics.attack_cost import legitimate_queries
from solid_utils.paper import paper, registry
from solid_utils.report import evidence, floors, headlines, results
from solid_utils.report.cells import TEXTS, Run, read, read_grid, texts
from solid_utils.report.lookups_customers import CustomersLookups
from solid_utils.report.lookups_scale import ScaleLookups
from solid_utils.report.lookups_vendor import VendorLookups

FACTS = paths.REFERENCE / "facts.csv"
USUAL = {"sem": "ours", "stitch": "stitch", "ft_all": "ft", "ft_closed": "ft"}  # recipe of the grid, if none is named


@cache
def _yaml(path: Path) -> dict:
    return yaml.safe_load(readers.read_text(path, "take it from the repository again"))


@dataclass(frozen=True)
class Lookups(ScaleLookups, VendorLookups, CustomersLookups):
    """What a document may ask of the run in `folder` (reference/MACHINE); `tables` holds its tables as CSV files."""

    folder: Path
    tables: Path
    model: str = "smollm2-135m"

    # --- tables

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        """What was read already."""
        return {}

    def table(self, name: str, folder: str = "") -> pd.DataFrame:
        """A table as it was written, of this run or of one beside it, such as "beyond"."""
        path = self.tables.parent / folder / "tables" / f"{name}.csv"
        if path not in self._tables:
            if not path.exists():
                raise StudyError(f"{path}: no such table; run `make tables`")
            self._tables[path] = readers.read_csv(path, "run `make tables` again")
        return self._tables[path]

    def row(self, name: str, folder: str = "", **wanted: object) -> dict:
        """The one row of a table in which these columns have these values. StudyError where none or several do."""
        found = self.table(name, folder)
        for column, value in wanted.items():
            found = found[found[column] == value]
        if len(found) != 1:
            raise StudyError(f"table {name}: {len(found)} rows with {wanted}; a document needs exactly one")
        return found.iloc[0].to_dict()

    def run(self, name: str, folder: str = "") -> dict:
        """An attack run's row of the table `attacks`."""
        return self.row("attacks", folder, model=self.model, run=name)

    # --- one evaluation: fidelity of grid cells (secured, attack, queries, recipe) and of runs of the study

    @cached_property
    def grid(self) -> dict[tuple[str, str, str, int], list[Run]]:
        """All cells, see cells.read_grid."""
        return read_grid(self.folder / "grid" / self.model)

    def cells(self, secured: str, attack: str, queries: int, recipe: str = "") -> list[Run]:
        """Each seed's run; `recipe` is a name of configs/grid.yaml, by default the attack's usual one."""
        return self.grid.get((attack, secured, recipe or USUAL[attack], queries), [])

    def seeds(self, *cell: object, **recipe: str) -> int:
        """How many seeds ran."""
        return len(self.cells(*cell, **recipe))

    def fidelity(
        self, *cell: object, metric: str = "agreement", text: str = "pooled", start: bool = False, **recipe: str
    ) -> float:
        """A metric after the attack, or before any query; the mean over seeds. StudyError where no cell ran."""
        values = [run.measured(metric, text, start) for run in self._ran(*cell, **recipe)]
        return sum(values) / len(values)

    def least(self, secured: list[str], *cell: object, **wanted: object) -> float:
        """The lowest `fidelity` over several secured sets."""
        return min(self.fidelity(one, *cell, **wanted) for one in secured)

    def most(self, secured: list[str], *cell: object, **wanted: object) -> float:
        """The highest `fidelity` over several secured sets."""
        return max(self.fidelity(one, *cell, **wanted) for one in secured)

    def recovered(self, *cell: object, text: str = "pooled", **recipe: str) -> float:
        """Share of the missing agreement that was recovered on these texts; the mean over seeds."""
        shares = [run.recovered(text) for run in self._ran(*cell, **recipe)]
        return sum(shares) / len(shares)

    def lowest(self, *cell: object, text: str = "pooled", **recipe: str) -> float:
        """The share that the least lucky seed recovered."""
        return min(run.recovered(text) for run in self._ran(*cell, **recipe))

    def highest(self, *cell: object, text: str = "pooled", **recipe: str) -> float:
        """The share that the luckiest seed recovered."""
        return max(run.recovered(text) for run in self._ran(*cell, **recipe))

    def spread(self, *cell: object, text: str = "pooled", **recipe: str) -> float:
        """By how much the seeds of a cell differ, highest less lowest."""
        return self.highest(*cell, text=text, **recipe) - self.lowest(*cell, text=text, **recipe)

    def shown(self, *cell: object, text: str = "pooled", **recipe: str) -> str:
        """The recovered share for a table: in percent, starred where one seed ran (a map draws none), else blank."""
        count = self.seeds(*cell, **recipe)
        if not count:
            return ""
        star = "*" if count == 1 and cell[1] != "stitch" else ""
        return f"{100 * self.recovered(*cell, text=text, **recipe):.1f}{star}"

    @cached_property
    def floors(self) -> pd.DataFrame:
        """What counts over public text guess of the texts that grid cells are scored on."""
        return schema.read(self.folder / "grid" / self.model / paths.FLOOR_FILE, schema.FLOOR)

    def floor(self, text: str) -> float:
        """The best of a constant token, bigrams and trigrams on these texts, with no query."""
        return floors.floor_on(self.floors, self.model, self.floors["tier"].iloc[0], tuple(texts(text)))

    def above(self, *cell: object, text: str = "apart", **recipe: str) -> float:
        """Share of what public text does not give, on these texts; the mean over seeds."""
        values = [floors.above(run.measured("agreement", text), self.floor(text)) for run in self._ran(*cell, **recipe)]
        return sum(values) / len(values)

    def four(self, *cell: object, **recipe: str) -> str:
        """Four cells of a table: recovered on all texts, on each kind, above the floor on texts apart, and greedy
        answers that are the victim's."""
        if not self.seeds(*cell, **recipe):
            return " | | | "
        kinds = " · ".join(f"{100 * self.recovered(*cell, text=text, **recipe):.1f}" for text in TEXTS)
        greedy = 100 * self.fidelity(*cell, metric="greedy_match", **recipe)
        above = 100 * self.above(*cell, **recipe)
        return f" **{self.shown(*cell, **recipe)}** | {kinds} | {above:.1f} | {greedy:.0f} "

    def steps(self, *cell: object, **recipe: str) -> int:
        """Optimizer steps of a cell."""
        return self._ran(*cell, **recipe)[0].steps

    def tokens(self, text: str = "pooled", run: str = "") -> int:
        """Answer tokens of the grid's evaluation, or of the study's `run`."""
        return (self.scores(run) if run else next(iter(self.grid.values()))[0]).tokens(text)

    def scores(self, run: str, folder: str = "", model: str = "") -> Run:
        """A run of the study, or of what lies in a folder beside it, such as "beyond"."""
        return read(self.folder / folder / "runs" / (model or self.model) / "attacks" / run / "scores.csv")

    def agreement(
        self, run: str, text: str = "pooled", metric: str = "agreement", start: bool = False, **where: str
    ) -> float:
        """A run's fidelity after the attack, or before any query; `folder` and `model` as in `scores`."""
        return self.scores(run, **where).measured(metric, text, start)

    def regained(self, run: str, text: str = "pooled", **where: str) -> float:
        """Recovered share of a run of the study on these texts."""
        return self.scores(run, **where).recovered(text)

    def _ran(self, *cell: object, **recipe: str) -> list[Run]:
        if not (found := self.cells(*cell, **recipe)):
            raise StudyError(f"grid: no cell {cell} {recipe}; a document names only what ran")
        return found

    # --- counts, settings, the paper

    def cell_counts(self) -> dict[str, int]:
        """Grid cells: planned, run, and how many of those by another seed than the first."""
        cells = self.table("grid_cells")
        first = self.setting("grid", "grid", "seeds")[0]
        ran = {id(run): run for runs in self.grid.values() for run in runs}.values()  # one may stand under two names
        return {
            "planned": int(cells["planned"].sum()),
            "run": int(cells["run"].sum()),
            "more": sum(run.seed != first for run in ran),
        }

    @staticmethod
    def setting(file: str, *keys: str) -> object:
        """A value of configs/FILE.yaml, or of params.yaml."""
        path = Path("params.yaml") if file == "params" else Path("configs") / f"{file}.yaml"
        value = _yaml(path)
        for key in keys:
            if key not in value:
                raise StudyError(f"{path}: no {'.'.join(keys)}")
            value = value[key]
        return value

    def paper_steps(self) -> float:
        """Optimizer steps of the paper's SEM: its samples, epochs and batch (B.2), as tier `paper` holds them."""
        sem = self.setting("tiers", "tiers", "paper", "attack", "sem")
        return sem["queries"] * sem["epochs"] / sem["batch"]

    def budget(self, attack: str) -> float:
        """The largest share of the paper's samples that a run of this attack was trained on in the default study."""
        runs = self.table("attacks").dropna(subset="attack")
        return float(evidence.of_budget(runs[runs["attack"] == attack]).max())

    @staticmethod
    def legitimate() -> pd.Series:
        """Queries of one epoch of a legitimate customization, by domain (paper, Table 8)."""
        return legitimate_queries()

    @staticmethod
    def printed(table: int, model: str, attack: str, secured: str, row: str) -> float:
        """One number of the paper, as printed."""
        found = paper.result_table(table)
        for column, value in zip(["model", "attack", "secured", "row"], [model, attack, secured, row], strict=True):
            found = found[found[column] == value]
        if len(found) != 1:
            raise StudyError(f"published table {table}: {len(found)} values of {model}, {attack}, {secured}, {row}")
        return float(found["value"].iloc[0])

    @staticmethod
    def paper_rows() -> int:
        """Benchmark rows of the paper's Table 7; SQuADv2 counts twice."""
        return len(paper.ROWS)

    @staticmethod
    def audit_points() -> int:
        """Points of the audit of the published numbers: paper/audit.py."""
        return registry.POINTS

    @staticmethod
    def compared() -> dict[str, float]:
        """What `make compare` allows on another machine: combined standard errors, else a share of the value."""
        return {"errors": headlines.ERRORS, "relative": headlines.RELATIVE}

    @staticmethod
    def ceilings() -> pd.DataFrame:
        """Fully secured difficulties, as printed and by formula: paper.ceilings."""
        return paper.ceilings()

    @staticmethod
    def chance() -> float:
        """What guessing alone scores by the mean of ratios on Llama2-70B's benchmarks (Table 14), in percent."""
        return float((paper.CHANCE / paper.pretrain("Llama2-70B")).mean() * 100)

    @cached_property
    def facts(self) -> pd.DataFrame:
        """What no result file holds: name, value, unit, how it was measured, on which machine."""
        return readers.read_csv(FACTS, "mend it", dtype=str, na_values=[]).set_index("name", verify_integrity=True)

    def fact(self, name: str) -> str:
        """A measured fact as it was written down. StudyError where there is none of this name."""
        if name not in self.facts.index:
            raise StudyError(f"{FACTS}: no fact '{name}'; add a line with its command and machine")
        return self.facts.loc[name, "value"]

    # --- the same study on another machine

    @cached_property
    def _rerun(self) -> tuple[Path, pd.DataFrame]:
        """Another machine's shipped run, and its headline figures beside this one's."""
        others = [folder for folder in results.shipped() if not (folder / "grid").is_dir()]  # pages are about one with
        if len(others) != 1:
            raise StudyError(f"reference/: {len(others)} other shipped runs; a document needs exactly one")
        both = [headlines.headline(results.load(folder)) for folder in (self.folder, *others)]
        return others[0], headlines.judged(*both, same_machine=False)

    def rerun_folder(self) -> str:
        return f"{self._rerun[0]}/"

    def rerun_counts(self) -> dict[str, int]:
        """How many headline figures there are by status (headlines.judged), and `compared`: ok, off or warning."""
        counts = self._rerun[1]["status"].value_counts().to_dict()
        said = {name: counts.get(name, 0) for name in ("ok", "off", "warning", "other budget or version", "not re-run")}
        return said | {"compared": said["ok"] + said["off"] + said["warning"]}

    def rerun_off(self) -> list[dict]:
        """Figures that differ by more than they may."""
        table = self._rerun[1]
        return table[table["status"].isin(["off", "warning"])].to_dict("records")

    def rerun(self, run: str, figure: str) -> dict:
        """One figure: `shipped` here, `rerun` there."""
        table = self._rerun[1]
        found = table[(table["run"] == run) & (table["figure"] == figure)]
        if len(found) != 1:
            raise StudyError(f"headline figures: {len(found)} of {run}, {figure}; a document needs exactly one")
        return found.iloc[0].to_dict()
