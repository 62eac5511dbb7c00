"""The paper's own numbers beside a customization cell: its gap to fully open, and its attack's ratio on such a set."""

import math

import numpy as np
import pandas as pd

from solid_utils.paper import paper, trade_off
from solid_utils.report import paper_numbers
from solid_utils.report.paper_numbers import ADR

TASKS = {"reasoning": "Math", "math": "Math", "code": "Code", "medical": "Medical", "law": "Law"}  # ours -> the paper's
PLACED = ("Llama2-7B", "Phi-2")  # the models of Figure 4
SIZED = ("size", "depths")  # groups that ask how much is secured, configs/customization.yaml
BY_DEPTH = (*SIZED, "placement")  # groups whose number in the paper is found by a share of the layers
Said = tuple[float, str]  # a number as a share, and where it stands
NOTHING: Said = (math.nan, "")


def column(deployment: str, bottom: bool) -> str:
    """The paper's name of a deployment; empty where it prints none, as of DarkneTZ (its bars stand in a drawing)."""
    known = {"sap_dp": "SAP-DP", "fully_secured": "Fully-Secure"}
    return known.get(deployment, "SOLID" if bottom else "")


def gap(part: str, domain: str, deployment: str, bottom: bool, share: float) -> Said:
    """The paper's score less that of fully open, a share, of the nearest set that it prints; `share` of all layers."""
    if part in SIZED:
        return by_size(share) if domain in ("reasoning", "math") else NOTHING
    task = TASKS.get(domain)
    if task is None or part == "placement":  # by place it stands in the paper's drawing alone
        return NOTHING
    if part == "ends":
        return of_ends(task, bottom)
    name = column(deployment, bottom)
    if not name:
        return NOTHING
    return float(trade_off.gaps(name)[task]), f"Tables 17 to 21, {name}, mean of five models"


def by_size(share: float) -> Said:
    """Table 33: of each of its models the number of layers whose share is nearest."""
    rows = paper.result_table(33)
    gaps = []
    for model, mine in paper_numbers.customized_by_size().items():
        opened = rows[(rows["model"] == model) & (rows["secured"] == "Fully-open")]["value"].item()
        gaps.append(nearest(mine["share"] / 100, share, mine["score"]) - opened)
    return float(np.mean(gaps)) / 100, "Table 33, mean of two models"


def of_ends(task: str, bottom: bool) -> Said:
    """Table 12, whose fully open model is Table 17's."""
    ends = paper.result_table(12).pivot(index="row", columns="secured", values="value")
    opened = paper.result_table(17).pivot(index="row", columns="secured", values="value")
    name = "Bottom2-Secured" if bottom else "Top2-Secured"
    return float(ends.loc[task, name] - opened.loc[task, "Fully-Open"]) / 100, f"Tables 12 and 17, {name}"


def ratio(part: str, deployment: str, bottom: bool, place: float, share: float) -> Said:
    """The paper's average ratio of FT-all, a share; `place`: 0 of the first layers to 1 of the last."""
    if part == "placement":
        found = []
        for model in PLACED:
            placed = paper_numbers.by_place(model)
            found.append(nearest(placed["index"] / placed["index"].max(), place, placed[ADR]))
        return float(np.mean(found)) / 100, "Tables 26, 27, 30, 31, mean of two models"
    if part in SIZED:
        sets = [paper_numbers.by_share(model) for model in PLACED]
        found = [nearest(np.log(mine["share"] / 100), math.log(share), mine[ADR]) for mine in sets]
        return float(np.mean(found)) / 100, "Tables 34 and 38, mean of two models"
    if part == "ends":
        name = "Semi-Open-1" if bottom else "Semi-Open-2"
        return float(paper_numbers.domains(13, "Llama2-70B", [name])[name].mean()) / 100, f"Table 13, {name}"
    name = column(deployment, bottom)
    if not name:
        return NOTHING
    return trade_off.ratio(name), f"Tables 14 and 15, {trade_off.OTHERWISE.get(name, name)}, mean of three models"


def nearest(places: pd.Series, wanted: float, values: pd.Series) -> float:
    """The value whose place is nearest to the wanted one."""
    return float(values[(places - wanted).abs().idxmin()])
