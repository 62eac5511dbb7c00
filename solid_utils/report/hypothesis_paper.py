"""H5: what the paper's own SEM recipe comes to at the paper's length, in the paper's own measure made fair."""

import pandas as pd

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.metrics import intervals, metrics
from solid_utils.report import outcome, scale
from solid_utils.report.ratios import NOT_BENCHMARKS
from solid_utils.report.scale import Scale
from solid_utils.settings.params import Hypothesis

RECIPES = ("paper_epochs", "paper_steps")


def h5(asked: Hypothesis, found: Scale) -> list[dict]:
    """Chance-corrected ratio of benchmarks after the paper's recipe on the first layer, its items resampled.

    One row a length, the shortest first. Only benchmarks count on which the victim stands out from the floor, as
    everywhere (metrics.has_signal). Raises StudyError where the items of such a cell, or the victim's, are not there:
    it must not pass for "not run".
    """
    rows = []
    cells = found.cells
    if len(cells):
        cells = scale.single(cells[cells["recipe"].isin(RECIPES)])
        cells = cells.sort_values(["model", "steps"], kind="stable")
    for _, cell in cells.iterrows():
        here = (found.benchmarks["model"] == cell["model"]) & (found.benchmarks["machine"] == cell["machine"])
        items = found.benchmarks[here]
        replica = items[(items["cell"] == cell["cell"]) & (items["steps"].astype(int) > 0)]
        victim = items[items["cell"] == "victim"]
        counted = standing_out(found, cell)
        for lacking, name in ((replica.empty, cell["cell"]), (victim.empty, "victim")):
            if lacking:
                place = f"reference/{cell['machine']}/{scale.LIST}/{cell['model']}/{name}{paths.BENCHMARK_ITEMS_END}"
                raise StudyError(f"{place}: missing, so H5 has no interval; delete {cell['cell']}.csv to run it again")
        if counted.empty:
            continue
        both = pd.concat([replica.assign(run="replica"), victim.assign(run="victim")]).assign(state="end")
        sides = intervals.resample(both[both["benchmark"].isin(counted.index)])
        scores = [sides[run, "end"].of(counted.index).scores for run in ("replica", "victim")]
        values = metrics.chance_corrected_ratio(*scores, floor=counted["floor"]).to_numpy(float)

        limits = asked.threshold
        what = f"{cell['steps']} steps, {len(counted)} benchmarks"
        one = outcome.row(
            "H5", asked, cell["model"], what, len(replica), values, limits["supported_below"], cell.to_frame().T
        )
        supported = one["outcome_high"] < limits["supported_below"]
        falsified = one["outcome_low"] > limits["falsified_above"]
        rows.append(one | {"verdict": outcome.verdict(supported, falsified)})
    return rows


def standing_out(found: Scale, cell: pd.Series) -> pd.DataFrame:
    """The victim's benchmarks that count, by name: `floor` is what knowing nothing scores there."""
    own = found.victims
    own = own[(own["model"] == cell["model"]) & (own["machine"] == cell["machine"])]
    own = own[~own["domain"].isin(NOT_BENCHMARKS)].set_index("benchmark")
    numbers = own[["value", "stderr", "n", "chance", "floor"]].astype(float)
    floor = metrics.empirical_floor(numbers["chance"], numbers["floor"])
    error = metrics.known_error(numbers["value"], numbers["stderr"], numbers["n"])
    counts = metrics.has_signal(numbers["value"], error, floor)
    return pd.DataFrame({"floor": floor})[counts.astype(bool)]
