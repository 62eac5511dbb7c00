"""Files beside a model's cells: this machine's before another's, and a broken one is one line."""

import pandas as pd
import pytest

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import beside_cells
from solid_utils.report.lookups import Lookups


def write(reference, machine: str, name: str, rows: list[dict]):
    path = reference / machine / "scale" / "m" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def off_grid(**changes) -> list[dict]:
    """A row of each victim."""
    blank = dict.fromkeys(schema.OFF_GRID, 1) | {
        "model": "m",
        "secured": "layers 0",
        "queries": 10,
        "only_layers": True,
    }
    both = [blank | {"victim": "packaged", "agreement": 0.7}, blank | {"victim": "off its grid", "agreement": 0.6}]
    return [both[0], both[1] | changes]


def test_this_machines_file_stands_before_anothers(tmp_path):
    other = write(tmp_path, "a", "x.csv", [{"value": 1}])
    assert beside_cells.find(tmp_path / "b", "scale", "m", "x.csv", "x") == other
    mine = write(tmp_path, "b", "x.csv", [{"value": 1}])
    assert beside_cells.find(tmp_path / "b", "scale", "m", "x.csv", "x") == mine
    with pytest.raises(StudyError, match=r"x.csv of n: none; run `python -m solid_utils.grid.x n`"):
        beside_cells.find(tmp_path / "b", "scale", "n", "x.csv", "x")


def test_both_victims_stand_side_by_side(tmp_path):
    write(tmp_path, "b", paths.OFF_GRID_FILE, off_grid())
    (row,) = Lookups(tmp_path / "b", tmp_path).off_grid_rows("m")
    assert (row["agreement"], row["agreement_moved"], row["queries"]) == (0.7, 0.6, 10)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (off_grid()[:1], "a row of each victim for each set"),
        (off_grid(queries=100), "a row of each victim for each set"),
        (off_grid(victim_perplexity=float("inf")), "victim_perplexity is missing or not finite"),
        (off_grid(agreement=None), "agreement"),
        ([{"model": "m", "noise": 1}], "columns"),
    ],
    ids=["one victim", "other texts", "not finite", "a hole", "an older version"],
)
def test_a_broken_file_is_one_line(rows, said, tmp_path):
    write(tmp_path, "b", paths.OFF_GRID_FILE, rows)
    with pytest.raises(StudyError, match=said) as caught:
        Lookups(tmp_path / "b", tmp_path).off_grid_rows("m")
    assert "\n" not in str(caught.value) and paths.OFF_GRID_FILE in str(caught.value)


def test_noise_that_is_no_number_is_one_line(tmp_path):
    row = dict.fromkeys(schema.SNAPPING, 1) | {"only_layers": True, "snapped_state_error": float("nan")}
    write(tmp_path, "b", paths.SNAPPING_FILE, [row])
    with pytest.raises(StudyError, match=r"snapping.csv: snapped_state_error is missing or not finite; delete"):
        Lookups(tmp_path / "b", tmp_path).snapping_rows("m")
