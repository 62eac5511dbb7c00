"""What lies in one results folder, read whole; a part that is not there is named, never guessed."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils import schema
from solid_utils.errors import StudyError

ORDER = {  # of runs; other deployments, such as "layers 0-3", come last
    "attack": ("none", "ft_all", "ft_closed", "sem"),
    "deployment": ("fully_open", "solid", "darknetz", "sap", "sap_dp", "fully_secured"),
}
SEARCH = ["model", "start", "l_star", "epsilon", "secured", "dd", "ceiling", "evaluations", "saved"]


@dataclass(frozen=True)
class Results:
    """All files of one results folder; `missing` names, in one line each, the parts that are not there."""

    folder: Path
    models: list[str]
    victims: pd.DataFrame  # schema.SCORES and `run`, the name of the run's folder
    attacks: pd.DataFrame
    customizations: pd.DataFrame
    curves: pd.DataFrame  # schema.CURVE and `run`, of attacks and customizations
    difficulty: pd.DataFrame  # schema.DD, of the prefixes and of the scan
    searches: pd.DataFrame  # SEARCH
    missing: list[str]


def load(folder: Path) -> Results:
    """Read results/ or reference/MACHINE/: folder/runs/MODEL/{victim,dd,scan,attacks/RUN,customizations/RUN}.

    Raises StudyError when it holds no model's results, or a file that does not fit the schema.
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
                tables += [schema.read(path, columns).assign(run=path.parent.name) for path in paths]
                if not paths:
                    missing.append(f"{model}: no {pattern}; what it would show is left out")
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "run"])

    return Results(
        folder,
        models,
        victims=gather(["victim/scores.csv"], schema.SCORES),
        attacks=in_order(gather(["attacks/*/scores.csv"], schema.SCORES)),
        customizations=in_order(gather(["customizations/*/scores.csv"], schema.SCORES)),
        curves=gather(["attacks/*/curve.csv", "customizations/*/curve.csv"], schema.CURVE),
        difficulty=_in_layers(gather(["dd/curve.csv", "scan/curve.csv"], schema.DD).drop(columns="run")),
        searches=_searches(folder, models, missing),
        missing=missing,
    )


def _searches(folder: Path, models: list[str], missing: list[str]) -> pd.DataFrame:
    rows = []
    for model in models:
        path = folder / "runs" / model / "dd" / "search.json"
        if path.exists():
            found = json.loads(path.read_text())
            rows += [{"model": model, "start": start} | search for start, search in found.items()]
        else:
            missing.append(f"{model}: no dd/search.json; what it would show is left out")
    return _in_layers(pd.DataFrame(rows, columns=SEARCH))


def _in_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with "bottom 2" written as "layers 0-1", as the scores name secured sets."""

    def written(secured: str) -> str:
        count = int(secured.removeprefix("bottom ")) if secured.startswith("bottom ") else 0
        return {0: secured, 1: "layers 0"}.get(count, f"layers 0-{count - 1}")

    return table.assign(secured=table["secured"].map(written))


def in_order(scores: pd.DataFrame) -> pd.DataFrame:
    """Runs by attack, then deployment, then name: the order of every table and figure."""

    def rank(column: pd.Series) -> pd.Series:
        names = ORDER.get(column.name)
        return column.map({name: place for place, name in enumerate(names)}).fillna(len(names)) if names else column

    return scores.sort_values(["model", *ORDER, "run"], key=rank, kind="stable", ignore_index=True)


def layers_of(secured: str) -> tuple[int, ...]:
    """Layer numbers of "layers 0" or "layers 0-3"; empty for "all", "none" and anything else."""
    match = re.fullmatch(r"layers (\d+)(?:-(\d+))?", secured)
    return tuple(range(int(match[1]), int(match[2] or match[1]) + 1)) if match else ()
