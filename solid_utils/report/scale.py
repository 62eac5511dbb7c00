"""The scale study's cells as they lie in reference/MACHINE/scale/MODEL, of all machines: one row a point of a curve."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import floors
from solid_utils.report.results import read_cell
from solid_utils.settings import reading

LIST = "scale"  # the list of cells, configs/scale.yaml
WHERE = ["model", "machine", "cell"]
POINT = ["model", "secured", "attack", "recipe", "queries"]
ALL = "all"  # the model of a row over several victims
# What lies beside the cells, and its columns.
COLUMNS = {"texts": schema.TEXTS, "floors": schema.FLOOR, "victims": schema.SCORES, "difficulty": schema.DD}
COLUMNS |= {"benchmarks": schema.ITEMS, "scores": schema.SET_SCORES}
# Columns of a cell's scores that it keeps, beside what its name says.
FACTS = ["secured", "attack", "seed", "steps", "tokens", "numbers", "dtype", "parameters", "share"]
FACTS += ["depth", "lowest", "highest", "only_layers", "view"]
SETS = {"own": "evaluation", "c4": "evaluation_c4", "code": "evaluation_code"}


@dataclass(frozen=True)
class Scale:
    """`cells`: a row a cell that ended, see `cell_row`; `texts`: schema.TEXTS with machine and cell; `floors`:
    schema.FLOOR with the machine; `victims`: schema.SCORES with the machine; `difficulty`: schema.DD with it;
    `benchmarks`: schema.ITEMS with machine and cell, "victim" for the victim's own; `scores`: schema.SET_SCORES
    with the machine."""

    cells: pd.DataFrame
    texts: pd.DataFrame
    floors: pd.DataFrame
    victims: pd.DataFrame
    difficulty: pd.DataFrame
    benchmarks: pd.DataFrame
    scores: pd.DataFrame


def load(reference: Path = paths.REFERENCE) -> Scale:
    """All that ran. Raises StudyError for a file that was cut or is another cell's."""
    found = sorted(reference.resolve().glob(f"*/{LIST}/*/*.csv"))
    return _load(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in found))


@cache  # as long as no file changed: three tables and a page ask
def _load(stamped: tuple[tuple[Path, int, int], ...]) -> Scale:
    found = [path for path, *_ in stamped]
    gathered: dict[str, list[pd.DataFrame]] = {name: [] for name in ("cells", *COLUMNS)}
    noted = _noted(found)
    for path in found:
        machine = {"machine": path.parents[2].name}
        if path.name == paths.FLOOR_FILE:
            gathered["floors"].append(schema.read(path, schema.FLOOR).assign(**machine))
        elif path.name == paths.VICTIM_FILE:
            gathered["victims"].append(schema.read(path, schema.SCORES).assign(**machine))
        elif path.name == paths.DD_FILE:
            gathered["difficulty"].append(schema.read(path, schema.DD).assign(**machine))
        elif path.name == paths.SET_SCORES_FILE:
            gathered["scores"].append(schema.read(path, schema.SET_SCORES).assign(**machine))
        elif path.name.endswith(paths.BENCHMARK_ITEMS_END):
            named = machine | {"cell": path.name.removesuffix(paths.BENCHMARK_ITEMS_END)}
            gathered["benchmarks"].append(schema.read(path, schema.ITEMS, schema.RERUN).assign(**named))
        elif path.name.endswith(paths.ITEMS_END):
            named = machine | {"cell": path.name.removesuffix(paths.ITEMS_END)}
            gathered["texts"].append(schema.read(path, schema.TEXTS, schema.RERUN).assign(**named))
        elif path.name not in paths.NO_CELLS:
            if not (beside := path.with_name(path.stem + paths.ITEMS_END)).exists():
                raise StudyError(f"{beside}: missing beside its cell; delete {path.name} to run the cell again")
            gathered["cells"].append(read_cell(path).assign(**machine, cell=path.stem))
    tables = {}
    for name, parts in gathered.items():
        empty = pd.DataFrame(columns=[*COLUMNS.get(name, schema.SCORES), *WHERE[1:]])
        tables[name] = pd.concat(parts, ignore_index=True) if parts else empty
    known = tables["floors"]

    @cache
    def floor(machine: str, model: str, tier: str, benchmark: str) -> float:
        return floors.floor_on(known[known["machine"] == machine], model, tier, (benchmark,))

    rows = [cell_row(key, mine, floor, noted) for key, mine in tables["cells"].groupby(WHERE, sort=False)]
    return Scale(pd.DataFrame(rows), **{name: tables[name] for name in COLUMNS})


def _noted(found: list[Path]) -> set[tuple[str, str, str]]:
    """Cells before whose run it was written down what is asked now: another text, or none, was another question."""
    noted = set()
    now = reading.asked()
    for path in found:
        if path.name == paths.HYPOTHESES_FILE:
            rows = schema.read(path, schema.REGISTERED)
            for cell in rows[rows["sha256"] == now]["cell"]:
                noted.add((path.parent.name, path.parents[2].name, cell))
    return noted


def cell_row(
    key: tuple, rows: pd.DataFrame, floor_of: Callable[[str, str, str, str], float], noted: set[tuple]
) -> dict:
    """A cell in one row: what it is, agreement after the attack, what of it stands above the floor, KL before and
    after, answers that are the victim's word for word, and whether its question was written down before it ran."""
    model, machine, cell = key
    last = rows[rows["steps"] > 0].iloc[0]
    scores = dict(
        zip(zip(rows["steps"] > 0, rows["benchmark"], rows["metric"], strict=True), rows["value"], strict=True)
    )

    def score(benchmark: str, metric: str, after: bool = True) -> float:
        return float(scores.get((after, benchmark, metric), "nan"))

    row = dict(zip(WHERE, key, strict=True)) | {name: last[name] for name in FACTS}
    row |= {"recipe": cell.rsplit("-", 3)[1], "queries": int(cell.rsplit("-", 2)[1]), "asked_before": key in noted}
    for name, benchmark in SETS.items():
        agreement = score(benchmark, "agreement")
        floor = floor_of(machine, model, last["tier"], benchmark)
        row[name] = agreement
        row[f"{name}_above"] = floors.above(agreement, floor)
        row[f"{name}_kl"] = score(benchmark, "kl")
    row["c4_kl_start"] = score(SETS["c4"], "kl", after=False)
    row["same"] = score(SETS["own"], "greedy_match")
    return row | {"relative_error": score("weights", "relative_error")}


def points(cells: pd.DataFrame) -> pd.DataFrame:
    """Means over draws, a row a point of a curve: POINT, `machine` (all that ran one), `seeds`, and the numbers of
    `cell_row`, each above the floor of its own machine."""
    if cells.empty:
        return pd.DataFrame(columns=POINT_TABLE)
    numbers = [f"{name}{end}" for name in SETS for end in ("", "_above", "_kl")]
    means = dict.fromkeys([*numbers, "tokens", "c4_kl_start", "same", "relative_error"], "mean")
    same = dict.fromkeys(["view", "dtype", "parameters", "depth", "lowest", "highest", "only_layers"], "first")
    grouped = once(cells).groupby(POINT, sort=False, as_index=False)
    made = grouped.agg(machine=("machine", together), seeds=("seed", "nunique"), asked_before=("asked_before", "all"))
    return made.merge(grouped.agg(means | same), on=POINT)[POINT_TABLE]


def once(cells: pd.DataFrame) -> pd.DataFrame:
    """Every draw once: of one that ran on two machines that of the machine with most draws of its point."""
    draws = cells.groupby([*POINT, "machine"])["seed"].transform("nunique")
    ordered = cells.loc[draws.sort_values(ascending=False, kind="stable").index]
    return cells.loc[cells.index.isin(ordered.drop_duplicates([*POINT, "seed"]).index)]


def together(machines: pd.Series) -> str:
    """The machines of one point in one word."""
    return " + ".join(sorted(set(machines)))


POINT_TABLE = [
    *["model", "machine", *POINT[1:], "dtype", "parameters", "depth", "lowest", "highest", "only_layers", "seeds"],
    *["tokens", "own", "own_above", "own_kl", "c4", "c4_above", "c4_kl", "code", "code_above", "code_kl"],
    *["c4_kl_start", "same", "relative_error", "view", "asked_before"],
]


def single(rows: pd.DataFrame) -> pd.DataFrame:
    """Those rows that secure one decoder layer and nothing else."""
    return rows[rows["only_layers"].astype(bool) & (rows["depth"] == 1)]


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each model's and set's points, every attack at the most queries that it ran with, the one that agrees most on
    prompts of the attack's own kind: nothing that is scored elsewhere has a say. Columns of POINT_TABLE."""
    if rows.empty:
        return rows
    most = rows.groupby(["model", "secured", "attack", "recipe"])["queries"].transform("max")
    last = rows[rows["queries"] == most]
    return last.loc[last.groupby(["model", "secured"], sort=False)["own"].idxmax()]
