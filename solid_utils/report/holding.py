"""Which secured sets hold: what the strongest attack takes of each on web text, beside securing everything.

Who can steal a larger set can steal a smaller one inside it: the layers between are open to him, so he computes the
states that leave the larger set himself. Each set therefore counts for the most that was taken of any set of layers
around it; without that, a map that happens to fail on four layers but not on fourteen would make the four look safe.
"""

from collections.abc import Callable
from functools import partial

import pandas as pd

from solid_utils.report import floors, results, scale, size
from solid_utils.report.results import Results

MOST = 3200  # queries that a thief may ask
WITHIN = 0.05  # of agreement above the floor, from the row where everything is secured
SMALL = 0.1  # of the parameters
WHOLE = "all"
OF_STUDY = "study"  # recipe of the runs of the default study
KIND = "c4_above"
SET = ["model", "secured"]
FACTS = ["parameters", "share", "depth", "lowest", "highest", "only_layers"]
OF_BEST = [*SET, "parameters", "depth", "lowest", "highest", "only_layers"]
OF_BEST += ["machine", "attack", "recipe", "queries", KIND]
TABLE = [*SET, *FACTS, "machine", "attack", "recipe", "queries", "most_queries", "c4_above", "taken", "through"]
TABLE += ["reached", "queries_half", "whole", "off", "holds", "small"]


def cells(found: Results, known: scale.Scale) -> pd.DataFrame:
    """Every attack with at most MOST queries: cells of the scale study and of the grid, and runs of the study."""
    parts = [known.cells]
    for rows, names in ((found.grid, "cell"), (found.attacks, "run")):
        floor = partial(_floor, found.floors)
        attacked = rows[rows["attack"] != "none"]
        parts.append(pd.DataFrame([_row(found, key, mine, floor) for key, mine in attacked.groupby(["model", names])]))
    together = pd.concat([part for part in parts if len(part)], ignore_index=True) if any(map(len, parts)) else None
    if together is None:
        return pd.DataFrame(columns=[*SET, *FACTS, "queries", "seed", KIND])
    return together[(together["queries"].astype(float) <= MOST) & together[KIND].notna()]


def _floor(known: pd.DataFrame, _machine: str, model: str, tier: str, benchmark: str) -> float:
    return floors.floor_on(known, model, tier, (benchmark,))


def _row(found: Results, key: tuple[str, str], rows: pd.DataFrame, floor: Callable) -> dict:
    """scale.cell_row of a cell of the grid, or of the end of a run."""
    model, name = key
    last = rows[rows["steps"] == rows["steps"].max()]
    if "cell" in rows:
        folder = results.grid_folder(found.folder).parent
    else:
        folder = found.folder
        name = f"{name}-{OF_STUDY}-{last['queries'].iloc[0]}-{last['seed'].iloc[0]}"  # as a cell says it
    states = pd.concat([rows[rows["steps"] == 0], last])
    return scale.cell_row((model, folder.resolve().name, name), states, floor, set())


def table(attacked: pd.DataFrame) -> pd.DataFrame:
    """A row a victim and secured set, columns TABLE, smallest first.

    attacked: `cells`. c4_above: of the strongest attack on the set itself, the mean over its seeds; taken: of any set
    of layers that holds it, `through` which; reached, queries_half: the fewest queries to half of what stands above
    the floor, by the same reasoning. whole: the row where everything is secured, at least the floor, which counts over
    public text give anybody. off: how far `taken` lies above it.
    """
    if attacked.empty:
        return pd.DataFrame(columns=TABLE)
    rows = []
    shares = attacked.groupby(SET)["share"].first()
    for (model, secured), mine in scale.points(attacked).groupby(SET, sort=False):
        best = mine.loc[mine[KIND].idxmax()]
        half = size.cheapest(mine, KIND)
        row = {
            name: best[name]
            for name in [*SET, *FACTS, "machine", "attack", "recipe", "queries", KIND]
            if name != "share"
        }
        row |= {"share": shares[model, secured], "most_queries": mine["queries"].max()}
        rows.append(row | {"reached": half["reached"], "queries_half": half["queries"] if half["reached"] else None})
    own = pd.DataFrame(rows)
    judged = pd.concat([_judged(mine) for _, mine in own.groupby("model", sort=False)], ignore_index=True)
    sizes = (judged["parameters"] / judged["share"]).groupby(judged["model"]).transform("max").round(-6)
    ordered = judged.assign(victim=sizes).sort_values(["victim", "share", "lowest", "secured"], ignore_index=True)
    return ordered[TABLE]


def _judged(own: pd.DataFrame) -> pd.DataFrame:
    """One victim's sets."""
    everything = own[own["secured"] == WHOLE][KIND]
    whole = max([0.0, *everything])
    rows = []
    for row in own.to_dict("records"):
        around = own[_around(row, own)]
        strongest = around.loc[around[KIND].idxmax()]
        taken = max(whole, strongest[KIND])
        halves = around["queries_half"].astype(float).dropna()
        row |= {"taken": taken, "through": strongest["secured"], "whole": whole, "off": taken - whole}
        row |= {"reached": len(halves) > 0, "queries_half": halves.min() if len(halves) else None}
        rows.append(row | {"holds": taken - whole <= WITHIN, "small": row["share"] <= SMALL})
    return pd.DataFrame(rows)


def _around(row: dict, own: pd.DataFrame) -> pd.Series:
    """Which sets hold this one: itself, and rows of whole layers around it."""
    itself = own["secured"] == row["secured"]
    if not row["only_layers"]:
        return itself
    layers = own["only_layers"].astype(bool) & (own["highest"] - own["lowest"] + 1 == own["depth"])
    return itself | (layers & (own["lowest"] <= row["lowest"]) & (own["highest"] >= row["highest"]))
