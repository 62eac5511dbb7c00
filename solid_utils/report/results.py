"""What lies in one results folder, read whole; a part that is not there is named, never guessed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from solid_utils.core import machine, paths, readers, schema
from solid_utils.core.errors import StudyError
from solid_utils.settings import params

ORDER = {  # of runs; other deployments, such as "layers 0-3", come last
    "attack": ("none", "ft_all", "ft_closed", "sem", "stitch"),
    "deployment": ("fully_open", "solid", "darknetz", "sap", "sap_dp", "fully_secured"),
}
SCORED = ["victim", "attacks/*", "customizations/*"]  # folders with a scores.csv, as patterns under runs/MODEL
SEARCH = ["model", "start", "l_star", "epsilon", "secured", "dd", "ceiling", "evaluations", "saved"]


@dataclass(frozen=True)
class Results:
    """All files of one results folder; `missing` names, in one line each, the parts that are not there."""

    folder: Path
    models: list[str]
    victims: pd.DataFrame  # schema.SCORES and `run`, the name of the run's folder
    attacks: pd.DataFrame
    customizations: pd.DataFrame
    items: pd.DataFrame  # schema.ITEMS and `run`, of all three; only items that give the score they lie beside
    curves: pd.DataFrame  # schema.CURVE and `run`, of attacks and customizations
    difficulty: pd.DataFrame  # schema.DD, of the prefixes and of the scan
    searches: pd.DataFrame  # SEARCH
    planned: pd.DataFrame  # `model` and schema.PLAN: every cell of the attack grid, run or not
    grid: pd.DataFrame  # schema.SCORES, `cell`, and `run`, the curve whose point the cell is
    leaks: pd.DataFrame  # schema.LEAKS
    beyond: pd.DataFrame  # schema.SCORES and `run`, of attacks on these models that are no part of the default study
    floors: pd.DataFrame  # schema.FLOOR, of the default study and of the grid
    deployed: pd.DataFrame  # schema.DEPLOYED
    defended: pd.DataFrame  # schema.DEFENDED
    missing: list[str]


def load(folder: Path) -> Results:
    """Read results/ or reference/MACHINE/: folder/runs/MODEL/{victim,dd,scan,attacks/RUN,customizations/RUN}.

    Raises StudyError when it holds no model's results, or a file that does not fit the schema or is another model's.
    """
    models = sorted(path.name for path in folder.glob("runs/*") if path.is_dir())
    if not models:
        raise StudyError(f"{folder}: no results there; run `dvc repro` first, or name another folder")
    missing: list[str] = []

    def gather(patterns: list[str], columns: list[str]) -> pd.DataFrame:
        tables = []
        for model in models:
            for pattern in patterns:
                paths = sorted((folder / "runs" / model).glob(pattern))
                tables += [_of(model, path, columns).assign(run=path.parent.name) for path in paths]
                if not paths:
                    missing.append(f"{model}: no {pattern}; what it would show is left out")
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "run"])

    scores = {name: gather([f"{name}/scores.csv"], schema.SCORES) for name in SCORED}
    return Results(
        folder,
        models,
        victims=scores["victim"],
        attacks=in_order(scores["attacks/*"]),
        customizations=in_order(scores["customizations/*"]),
        items=_items(folder, models, pd.concat(scores.values()), missing),
        curves=gather(["attacks/*/curve.csv", "customizations/*/curve.csv"], schema.CURVE),
        difficulty=gather(["dd/curve.csv", "scan/curve.csv"], schema.DD).drop(columns="run"),
        searches=_searches(folder, models, missing),
        planned=_beside_cells(folder, models, paths.PLAN_FILE, schema.PLAN),
        grid=_grid(folder, models),
        leaks=_beside_cells(folder, models, paths.LEAKS_FILE, schema.LEAKS),
        beyond=_beyond(folder, models),
        floors=_floors(folder, models),
        deployed=_deployment(folder, models, paths.COSTS_FILE, schema.DEPLOYED),
        defended=_deployment(folder, models, paths.DEFENDED_FILE, schema.DEFENDED),
        missing=missing,
    )


def _of(model: str, path: Path, columns: list[str]) -> pd.DataFrame:
    """A file under runs/MODEL, whose rows are that model's. Raises StudyError where they are another's."""
    rows = schema.read(path, columns)
    if others := sorted(set(rows["model"]) - {model}):
        raise StudyError(f"{path}: rows of '{others[0]}', not of {model}; {schema.AGAIN}")
    return rows


def _items(folder: Path, models: list[str], scores: pd.DataFrame, missing: list[str]) -> pd.DataFrame:
    """The items.csv beside each scores.csv, read whole."""
    tables = [pd.DataFrame(columns=[*schema.ITEMS, "run"])]
    for model in models:
        runs = [path.parent for name in SCORED for path in sorted((folder / "runs" / model).glob(f"{name}/scores.csv"))]
        found = [run for run in runs if (run / "items.csv").exists()]
        tables += [schema.read(run / "items.csv", schema.ITEMS).assign(run=run.name) for run in found]
        if lacking := [run.name for run in runs if run not in found]:
            whose = f"the scores of {', '.join(lacking)}" if found else "any scores"
            missing.append(f"{model}: no items.csv beside {whose}; no intervals there")
    items = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    return _that_give_scores(items.astype({"item": str, "seed": str}), scores, missing)


def _that_give_scores(items: pd.DataFrame, scores: pd.DataFrame, missing: list[str]) -> pd.DataFrame:
    """Items whose mean is a score of their benchmark; no interval can stand beside any other (F1 is no mean)."""
    keys = ["model", "run", "seed", "steps", "benchmark"]
    sums = items.groupby(keys)[["value", "weight"]].sum().astype(float)
    means = (sums["value"] / sums["weight"]).rename("mean").reset_index()
    beside = means.merge(scores.astype({"seed": str})[[*keys, "value"]], on=keys, how="left")
    beside["gives"] = np.isclose(beside["mean"], beside["value"].astype(float), rtol=0, atol=1e-6)
    gives = beside.groupby(keys)["gives"].any()
    for (model, run, benchmark), one in gives.groupby(level=["model", "run", "benchmark"]):
        if not one.all():
            missing.append(f"{model}: the items of {run}, {benchmark}, do not give its score; no intervals there")
    return items[gives.reindex(pd.MultiIndex.from_frame(items[keys])).to_numpy(bool)].reset_index(drop=True)


def _searches(folder: Path, models: list[str], missing: list[str]) -> pd.DataFrame:
    rows = []
    for model in models:
        path = folder / "runs" / model / "dd" / "search.json"
        if path.exists():
            rows += [{"model": model, "start": start} | search for start, search in read_searches(path).items()]
        else:
            missing.append(f"{model}: no dd/search.json; what it would show is left out")
    return pd.DataFrame(rows, columns=SEARCH)


def read_searches(path: Path) -> dict[str, dict]:
    """By start, where the search for l* ended (SEARCH). Raises StudyError naming the start and what is wrong there."""
    found = readers.read_object(path, schema.AGAIN)
    for start, search in found.items():
        if not isinstance(search, dict) or set(search) != set(SEARCH[2:]):
            raise StudyError(f"{path}: {start}: its keys are not {', '.join(SEARCH[2:])}; {schema.AGAIN}")
        for name, value in search.items():
            kinds = (str,) if name == "secured" else (int, float) if name in ("epsilon", "dd", "ceiling") else (int,)
            if type(value) not in kinds or (kinds != (str,) and value < 0):
                raise StudyError(f"{path}: {start}: {name} is {value!r}; {schema.AGAIN}")
    return found


def shipped() -> list[Path]:
    """The shipped runs, reference/MACHINE; first the one that pages are about, which has an attack grid beside it."""
    found = sorted(path.parent for path in paths.REFERENCE.glob("*/machine.json"))
    return sorted(found, key=lambda folder: not (folder / "grid").is_dir())


def grid_folder(folder: Path) -> Path | None:
    """The attack grid beside these results, else this machine's, else any machine's; None where there is none."""
    found = sorted(paths.REFERENCE.glob("*/grid"))
    if (folder / "grid").is_dir() or len(found) < 2:
        return folder / "grid" if (folder / "grid").is_dir() else next(iter(found), None)
    own = paths.REFERENCE / machine.slug(machine.describe(params.load().threads)) / "grid"
    return own if own in found else found[0]


def _beside_cells(folder: Path, models: list[str], name: str, columns: list[str]) -> pd.DataFrame:
    """A file of these models' grids that is no cell, where it is there; `model` stands first."""
    tables, grid = [pd.DataFrame(columns=dict.fromkeys(["model", *columns]))], grid_folder(folder)
    for model in models if grid else []:
        if (path := grid / model / name).exists():
            tables.append(schema.read(path, columns).assign(model=model))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _deployment(folder: Path, models: list[str], name: str, columns: list[str]) -> pd.DataFrame:
    """A file of these models' deployments, of the default study or beyond it, where it is there.

    Costs are counted from shapes and know no machine: where these results have none, any shipped ones will do.
    """
    tables = [pd.DataFrame(columns=columns)]
    for model in models:
        place = f"runs/{model}/deployment/{name}"
        found = [path for path in (folder / place, folder / "beyond" / place) if path.exists()]
        if not found and name == paths.COSTS_FILE:
            found = sorted(paths.REFERENCE.glob(f"*/{place}"))[:1]
        tables += [schema.read(path, columns) for path in found]
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _beyond(folder: Path, models: list[str]) -> pd.DataFrame:
    """Scores of attacks on these models in FOLDER/beyond, as a shipped run has them beside the default study's."""
    tables = [pd.DataFrame(columns=[*schema.SCORES, "run"])]
    for model in models:
        for path in sorted((folder / "beyond" / "runs" / model / "attacks").glob("*/scores.csv")):
            tables.append(schema.read(path, schema.SCORES).assign(run=path.parent.name))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _floors(folder: Path, models: list[str]) -> pd.DataFrame:
    """What public text alone gives on the held-out texts of the default study and of the grid, where it was counted."""
    grid = grid_folder(folder)
    tables = [pd.DataFrame(columns=schema.FLOOR)]
    for model in models:
        places = [folder / "runs" / model / "victim", *([grid / model] if grid else [])]
        paths_there = [place / paths.FLOOR_FILE for place in places]
        tables += [schema.read(path, schema.FLOOR) for path in paths_there if path.exists()]
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _grid(folder: Path, models: list[str]) -> pd.DataFrame:
    """The scores of every cell that ran."""
    tables, grid = [pd.DataFrame(columns=[*schema.SCORES, "cell", "run"])], grid_folder(folder)
    for model in models if grid else []:
        for path in sorted((grid / model).glob("*.csv")):
            if path.name not in paths.NO_CELLS:
                names = {"cell": path.stem, "run": path.stem.rsplit("-", 2)[0]}
                tables.append(read_cell(path).assign(**names))
        _alike(grid / model, tables[1:])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def read_cell(path: Path) -> pd.DataFrame:
    """The scores of a cell of the grid. Raises StudyError where it was cut, or is that of another cell."""
    rows = schema.read(path, schema.SCORES, schema.RERUN)
    named = f"{rows['attack'].iloc[-1]}-{rows['deployment'].iloc[-1]}-".replace(" ", "_")
    if not path.stem.startswith(named) or path.stem.rsplit("-", 1)[1] != str(rows["seed"].iloc[-1]):
        raise StudyError(f"{path}: holds {named}...-{rows['seed'].iloc[-1]}, another cell; {schema.RERUN}")
    return rows


def _alike(folder: Path, cells: list[pd.DataFrame]) -> None:
    """Raise StudyError for a cell without a score of a set that the other cells of this model have."""
    cells = [cell for cell in cells if cell["model"].iloc[0] == folder.name]
    # Greedy answers to all sets were asked for later: 44 of the shipped cells have them of their own kind only.
    compared = [cell[~cell["metric"].isin(["greedy_match", "common_prefix", "relative_error"])] for cell in cells]
    scored = [set(zip(cell["benchmark"], cell["metric"], strict=True)) for cell in compared]
    for cell, found in zip(cells, scored, strict=True):
        if lacking := sorted(set().union(*scored) - found):
            path = folder / f"{cell['cell'].iloc[0]}.csv"
            raise StudyError(f"{path}: cut (no {lacking[0][1]} of {lacking[0][0]}); {schema.RERUN}")


def prefix(rows: pd.DataFrame) -> pd.Series:
    """Is the secured set the bottom layers, whole, and nothing else? From the facts of schema.SECURED."""
    bottom = (rows["lowest"] == 0) & (rows["highest"] == rows["depth"] - 1)
    return rows["only_layers"].astype(bool) & bottom


def in_order(scores: pd.DataFrame) -> pd.DataFrame:
    """Runs by attack, then deployment, then name: the order of every table and figure."""

    def rank(column: pd.Series) -> pd.Series:
        names = ORDER.get(column.name)
        return column.map({name: place for place, name in enumerate(names)}).fillna(len(names)) if names else column

    return scores.sort_values(["model", *ORDER, "run"], key=rank, kind="stable", ignore_index=True)
