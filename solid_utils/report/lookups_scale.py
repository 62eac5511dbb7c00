"""What a document may ask of the scale study: counts of cells, the best point of each set, outcomes of hypotheses."""

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.metrics.intervals import LEVEL
from solid_utils.report import beside_cells, forecasts, hypotheses, scale, size
from solid_utils.report.tables.forecasts import said
from solid_utils.settings import params

PACKAGED = "packaged"  # the victim of off_grid.csv as it came


class ScaleLookups:
    """A part of lookups.Lookups, which gives it `table`."""

    def scale_counts(self) -> list[dict]:
        """A victim and machine each: cells that ended, and those of them whose question was written down before."""
        cells = scale.load().cells
        counted = cells.groupby(["model", "machine"], sort=False, as_index=False).agg(
            cells=("cell", "size"), asked=("asked_before", "sum")
        )
        return counted.to_dict("records")

    def scale_cells(self, machine: str) -> int:
        """How many cells ended on a machine."""
        return sum(one["cells"] for one in self.scale_counts() if one["machine"] == machine)

    def scale_progress(self) -> list[dict]:
        """A group of configs/scale.yaml each: how many of its planned cells ended, by victim, on whatever machine."""
        planned = [
            schema.read(path, schema.PLAN).assign(model=path.parent.name)
            for path in sorted(self.folder.parent.glob(f"*/{scale.LIST}/*/{paths.PLAN_FILE}"))
        ]
        if not planned:
            return []
        rows = pd.concat(planned).drop_duplicates(["model", "group", "cell"])
        ended = scale.load().cells[["model", "cell"]].drop_duplicates().assign(ended=True)
        rows = rows.merge(ended, on=["model", "cell"], how="left")
        told = {name: {"group": name, "victims": {}} for name in params.load().scale.groups}
        for (group, model), mine in rows.groupby(["group", "model"]):
            if group in told:  # a plan of an older list may hold groups that are no more
                told[group]["victims"][model] = f"{mine['ended'].notna().sum()} of {len(mine)}"
        return list(told.values())

    def scale_best(self) -> list[dict]:
        """Of each victim's secured sets the point that agrees most on its own kind: rows of the table `scale`."""
        best = scale.best(self.table("scale"))
        place = best["secured"].str.contains("layer ").astype(int)  # single matrices last
        ordered = best.assign(place=place).sort_values(["model", "place", "depth", "lowest"], kind="stable")
        return ordered.to_dict("records")

    def scale_point(self, model: str, secured: str) -> dict:
        """The best point of one secured set. Raises StudyError where it was not attacked."""
        found = [one for one in self.scale_best() if (one["model"], one["secured"]) == (model, secured)]
        return the_one(found, "tables/scale.csv", {"model": model, "secured": secured})

    def scale_cell(self, model: str, secured: str, attack: str, recipe: str, queries: int) -> dict:
        """One point of the table `scale`. Raises StudyError where it did not run."""
        table = self.table("scale")
        wanted = {"model": model, "secured": secured, "attack": attack, "recipe": recipe, "queries": queries}
        found = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)].to_dict("records")
        return the_one(found, "tables/scale.csv", wanted)

    def hypothesis(self, name: str, model: str) -> dict:
        """What one victim says of a hypothesis that has one outcome a victim, in words. StudyError where none."""
        found = [one for one in self.hypothesis_rows() if (one["hypothesis"], one["model"]) == (name, model)]
        return the_one(found, "tables/hypotheses.csv", {"hypothesis": name, "model": model})

    def outcomes_of(self, name: str, model: str) -> list[dict]:
        """All that one victim, or `all` together, say of a hypothesis, in words, as the table orders it (`H5`: the
        shortest run first). StudyError where nothing ran."""
        found = [one for one in self.hypothesis_rows() if (one["hypothesis"], one["model"]) == (name, model)]
        if not found:
            raise StudyError(f"tables/hypotheses.csv: no {name} of {model}; ask for one that ran")
        return found

    @staticmethod
    def first_layers_share(model: str) -> float:
        """DD of a victim's first layer over the largest DD among its bottom sets. StudyError where none is."""
        found = scale.load().difficulty
        mine = found[(found["model"] == model) & (found["seed"].astype(str) == "mean") & (found["lowest"] == 0)]
        mine = mine[mine["only_layers"].astype(bool)]
        first = mine.loc[mine["depth"] == 1, "dd"]
        if first.empty:
            raise StudyError(f"{paths.DD_FILE} of {model}: no first layer; run `make scale ARGS={model}`")
        return float(first.iloc[0] / mine["dd"].max())

    def solved_matrices(self) -> list[dict]:
        """Cells of `least_squares`, rows of the table `scale`, by victim and matrix, the fewest texts first."""
        table = self.table("scale")
        rows = table[table["attack"] == "least_squares"]
        return rows.sort_values(["model", "secured", "queries"], kind="stable").to_dict("records")

    def exactness_rows(self, model: str) -> list[dict]:
        """What noise on the first layer leaves, a row a size, the largest first: exactness.csv of the scale study."""
        path = beside_cells.find(self.folder, scale.LIST, model, paths.EXACTNESS_FILE, "exactness")
        told = []
        for (noise, error), mine in schema.read(path, schema.EXACTNESS).groupby(["noise", "state_error"]):
            by_set = mine.set_index("benchmark")
            if sorted(by_set.index) != sorted(scale.SETS.values()):
                raise StudyError(f"{path}: noise {noise:g} has other sets than the rest; delete it and run it again")
            row = {"noise": noise, "state_error": error}
            for name, benchmark in scale.SETS.items():
                row |= {name: by_set.loc[benchmark, "agreement"], f"{name}_same": by_set.loc[benchmark, "greedy_match"]}
            told.append(row | {"prompts": int(by_set.loc[scale.SETS["own"], "prompts"])})
        return sorted(told, key=lambda row: -row["noise"])

    def snapping_rows(self, model: str) -> list[dict]:
        """What rounding to the weights' own grid gains on noise, rows of schema.SNAPPING, the largest noise first."""
        path = beside_cells.find(self.folder, scale.LIST, model, paths.SNAPPING_FILE, "snapping")
        table = beside_cells.read(
            path, schema.SNAPPING, ["noise", "levels_right", "state_error", "snapped_state_error"]
        )
        return table.sort_values("noise", ascending=False).to_dict("records")

    def basin_rows(self, model: str) -> list[dict]:
        """What training leaves of noise on the victim's own layer, rows of schema.BASIN, the nearest start first."""
        path = beside_cells.find(self.folder, scale.LIST, model, paths.BASIN_FILE, "basin")
        measured = ["noise", "own_start", "held_out_start", "own_end", "held_out_end"]
        return beside_cells.read(path, schema.BASIN, measured).sort_values("noise").to_dict("records")

    def off_grid_rows(self, model: str) -> list[dict]:
        """The same theft of a victim as packaged and off its grid, rows of schema.OFF_GRID side by side: what is named
        `..._moved` is the second's. StudyError where one of them lacks a row."""
        path = beside_cells.find(self.folder, scale.LIST, model, paths.OFF_GRID_FILE, "off_grid")
        table = beside_cells.read(path, schema.OFF_GRID, ["victim_agrees", "victim_perplexity", "agreement"])
        moved = table["victim"] != PACKAGED
        on = ["secured", "queries"]
        both = table[~moved].merge(table[moved], on=on, suffixes=("", "_moved"))
        if both.empty or not len(both) == moved.sum() == (~moved).sum():
            raise StudyError(
                f"{path}: a row of each victim for each set and number of texts; delete it and run it again"
            )
        return both.to_dict("records")

    def exact_enough(self, model: str) -> float:
        """The largest error of states behind which every answer of the attack's own kind is the victim's, and behind
        all smaller ones, too. Raises StudyError where none is."""
        enough = None
        for row in reversed(self.exactness_rows(model)):
            if row["own_same"] < 1:
                break
            enough = row["state_error"]
        if enough is None:
            raise StudyError(f"{paths.EXACTNESS_FILE} of {model}: no noise is small enough; try smaller sizes")
        return enough

    def scale_costs(self) -> list[dict]:
        """Queries to half by victim and secured bottom layers, in words: rows of the table `scale_cost`."""
        rows = []
        for row in self.table("scale_cost").to_dict("records"):
            words = {f"half_{kind}": size.half(row, kind) for kind in size.KINDS}
            rows.append(row | words | {"millions": f"{row['model_parameters'] / 1e6:,.0f}M"})
        return rows

    def papers_queries(self) -> tuple[int, int]:
        """The paper's smallest and largest attack set (Table 25)."""
        return size.papers_queries()

    def hypothesis_rows(self) -> list[dict]:
        """The table `hypotheses`, its outcomes in words."""
        return [self._worded(row) for row in self.table("hypotheses").to_dict("records")]

    @staticmethod
    def _worded(row: dict) -> dict:
        if row["verdict"] == hypotheses.NOT_RUN:
            return row | {"victim": "", "what": "", "words": "", "kind": "", "chance": ""}
        words = "{outcome:.2f} [{outcome_low:.2f}, {outcome_high:.2f}]".format(**row)
        kind = "" if row["confirmatory"] else ", exploratory"
        what = "" if pd.isna(row["what"]) else row["what"]
        chance = "" if pd.isna(row["p_holm"]) else f"{row['p_holm']:.3f}"
        victim = f"`{row['model']}`"
        return row | {"victim": victim, "what": what, "words": words, "kind": kind, "chance": chance}

    def forecast_rows(self, outcome: str) -> list[dict]:
        """Scores as forecasts of one outcome, rows of the table `forecasts` in words; rivals such as DD stand last."""
        return [_ranked(row) for row in self._forecasts(outcome).to_dict("records")]

    @staticmethod
    def forecasts_apart(outcome: str) -> list[dict]:
        """A score without training each, and `by` victim what it gains on DD as a forecast, in words."""
        rows = forecasts.table(params.load().score_hypotheses, scale.load())
        rows = rows[(rows["forecast_of"] == outcome) & (rows["model"] != scale.ALL)]
        told = []
        for score in forecasts.SCORES:
            mine = rows[rows["score"] == score].to_dict("records")
            told.append({"score": score, "by": {row["model"]: _bracketed(row, "over_dd") for row in mine}})
        return told

    @staticmethod
    def _forecasts(outcome: str) -> pd.DataFrame:
        """Rows of the table `forecasts`; of several models those in which they are blocks."""
        rows = forecasts.table(params.load().score_hypotheses, scale.load())
        rows = rows[rows["forecast_of"] == outcome]
        together = rows[rows["model"] == scale.ALL]
        return together if len(together) else rows

    def forecast_said(self, outcome: str) -> str:
        """The best score beside DD, and whether the goal was met, in words; "not run" where too few sets have both."""
        rows = self._forecasts(outcome)
        strong = params.load().score_hypotheses["S1"].threshold["strength"]
        return said(rows, strong) if len(rows) else hypotheses.NOT_RUN

    @staticmethod
    def forecast_moved(outcome: str) -> dict[str, int]:
        """How many sets an attack brought nearer to the victim: forecasts.moved."""
        return forecasts.moved(scale.load(), outcome)

    @staticmethod
    def near_zero(score: str, within: float) -> dict[str, int]:
        """Of how many `sets` a score without training lies that `near` to zero."""
        values = scale.load().scores
        values = values[values["score"] == score]["value"].abs()
        return {"sets": len(values), "near": int((values <= within).sum())}

    @staticmethod
    def forecasts_met(outcome: str) -> dict[str, list[str]]:
        """The scores that meet the goal, by victim; victims of which none does have an empty list."""
        rows = forecasts.table(params.load().score_hypotheses, scale.load())
        mine = rows[(rows["forecast_of"] == outcome) & (rows["model"] != scale.ALL)]
        strong = params.load().score_hypotheses["S1"].threshold["strength"]
        return {model: forecasts.met(one, strong) for model, one in mine.groupby("model", sort=False)}

    @staticmethod
    def forecast_contrast() -> list[dict]:
        """S3 by model, in words: forecasts.contrast."""
        rows = forecasts.contrast(scale.load()).to_dict("records")
        return [row | {"words": _bracketed(row, "gain")} for row in rows]

    @staticmethod
    def forecast_groups() -> list[dict]:
        """Ranks within the sets that hold layer 0 and within the others, where both are known: forecasts.groups."""
        return forecasts.groups(scale.load()).dropna().to_dict("records")

    @staticmethod
    def setting_percent() -> str:
        """How much of the resamples an interval holds."""
        return f"{100 * LEVEL:.0f}"


def the_one(found: list[dict], table: str, wanted: dict) -> dict:
    """The only row that is wanted. Raises StudyError where there is none, or are several."""
    if len(found) != 1:
        raise StudyError(f"{table}: {len(found)} rows of {wanted}; ask for one that ran")
    return found[0]


def _bracketed(row: dict, name: str) -> str:
    """A number with its interval; empty where it is unknown."""
    if pd.isna(row[name]):
        return ""
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def _ranked(row: dict) -> dict:
    """A row of the table `forecasts`, its numbers in words."""
    names = ["rank", *(f"over_{rival}" for rival in forecasts.RIVALS)]
    words = {f"{name}_words": _bracketed(row, name) for name in names}
    chance = "" if pd.isna(row["p_holm"]) else f"{row['p_holm']:.3f}"
    work = "" if pd.isna(row["flops"]) else f"{row['flops'] / 1e9:,.0f}"
    return row | words | {"chance": chance, "gigaflops": work}
