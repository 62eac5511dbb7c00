"""The audit of the published numbers: each point holds, and ends where the matching number is corrected."""

import shutil

import nbformat
import pandas as pd
import pytest

from solid_utils.core.errors import StudyError
from solid_utils.metrics import metrics
from solid_utils.paper import audit, audit_tools, paper, registry
from solid_utils.paper.audit_tools import ADR, DD, Resolved


@pytest.mark.parametrize("number", audit.POINTS)
def test_every_point_holds_and_shows_its_numbers(number):
    shown = audit.point(number)
    assert len(shown) > 0 and shown.shape[1] > 0
    assert audit.POINTS[number].__doc__.startswith(f"{number}: ") and audit.says(number)[-1] == "."


def test_the_points_are_those_of_the_registry():
    assert list(audit.POINTS) == list(range(1, registry.POINTS + 1))
    with pytest.raises(StudyError, match="it has 1 to 29"):
        audit.point(30)


def scaled(rows: pd.DataFrame, where: pd.Series, factor: float) -> None:
    rows.loc[where, "value"] *= factor


# What a reader would correct: point -> table, which cells (by column), and their right value.
CORRECTED = {
    2: (1, {"model": "Llama2-7B", "secured": "SOLID", "row": "BoolQ"}, {"value": 54.9}),
    3: (27, {"secured": "*", "row": ADR}, {"value": 25.62}),
    5: (29, {"secured": "22", "row": ADR}, {"value": 30.0}),
    7: (15, {"model": "Llama2-7B", "secured": "SOLID", "row": "SQuADv2_F1"}, {"value": 1.05}),
    8: (16, {"model": "Phi-2", "secured": "SOLID", "row": "MMLU"}, {"value": 26.16}),
    9: (16, {"model": "Phi-2", "secured": "Fully-secured", "row": "BoolQ"}, {"value": 39.60}),
    10: (41, {"secured": "100M", "row": "HellaSwag"}, {"value": 26.27}),
    11: (32, {"secured": "*", "row": DD}, {"value": 11.26}),
    12: (31, {"secured": "*", "row": DD}, {"value": 10.5}),
    13: (38, {"secured": "0.25%", "row": DD}, {"value": 1.5}),
    14: (11, {"model": "Mistral-7B", "domain": "Rsn"}, {"spearman": -0.65}),
    15: (1, {"model": "Phi-2", "secured": "DarkneTZ", "domain": "Rsn"}, {"value": 90.0}),
    16: (14, {"secured": "SOLID", "row": "PIQA"}, {"value": 51.0}),
    17: (1, {"model": "Phi-2", "secured": "SAP-DP", "row": "HellaSwag"}, {"value": 34.3}),
    18: (2, {"attack": "SEM", "secured": "SOLID", "row": "Rsn"}, {"value": 46.6}),
    19: (24, {"model": "Mistral-7B", "domain": "Rsn"}, {"value": 27.0}),
    20: (3, {"model": "OPT"}, {"decoder_layers": 36}),
    21: (10, {"model": "Mistral-7B", "setting": "0.50%"}, {"likely_params_million": "30.0"}),
    22: (17, {"secured": "Fully-Secure", "row": "Finance"}, {"value": 37.54}),
    23: (33, {"model": "Llama2-7B", "secured": "Fully-Secure"}, {"value": 20.24}),
    24: (9, {"model": "Llama2-70B"}, {"learning_rate": 1.5e-5}),
    25: (5, {"raw_data_set": "Alpaca"}, {"validation_set": 751}),
    26: (7, {"benchmark": "SQuADv2_EM"}, {"benchmark": "SQuAD_EM"}),
    27: (27, {"secured": "*", "row": DD}, {"value": 10.49}),
    28: (2, {"attack": "SEM", "secured": "F-Secured", "row": "Gen"}, {"value": 18.2}),
    29: (14, {"secured": "SOLID", "row": ADR}, {"value": 40.0}),
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A copy of the published tables that may be corrected."""
    shutil.copytree(paper.PUBLISHED, tmp_path / "published")
    monkeypatch.setattr(paper, "PUBLISHED", tmp_path / "published")
    return tmp_path / "published"


def corrected(folder, table: int, cells: dict, values: dict) -> None:
    path = next(folder.glob(f"table{table:02d}_*.csv"))
    rows = pd.read_csv(path, dtype={"secured": "str"}, keep_default_na=False)
    mine = pd.concat([rows[name] == value for name, value in cells.items()], axis=1).all(axis=1)
    assert mine.any()
    for name, value in values.items():
        rows.loc[mine, name] = value
    rows.to_csv(path, index=False)


@pytest.mark.parametrize("number", CORRECTED)
def test_a_corrected_number_ends_the_point(files, number):
    corrected(files, *CORRECTED[number])
    with pytest.raises(Resolved) as error:
        audit.point(number)
    assert "not in the published tables as they lie here" in str(error.value) and "\n" not in str(error.value)


def test_the_points_about_labels_headings_and_levels_end_too(files):
    moved = {label: right for right, label in audit.copies.MOVED.items()}  # as if the printed labels were right
    path = next(files.glob("table27_*.csv"))
    rows = pd.read_csv(path, dtype={"secured": "str"})
    rows["row"] = rows["row"].replace(moved)
    rows.to_csv(path, index=False)
    path = next(files.glob("table26_*.csv"))
    rows = pd.read_csv(path, dtype={"secured": "str"})
    rows["secured"] = rows["secured"].map(lambda name: str(2 * int(name)) if name.isdigit() else name)
    rows.to_csv(path, index=False)
    for number in (1, 4):
        with pytest.raises(Resolved):
            audit.point(number)


def test_a_layer_at_22_percent_would_be_the_texts(files):
    path = next(files.glob("table34_*.csv"))
    rows = pd.read_csv(path, dtype={"secured": "str"})
    scaled(rows, (rows["secured"] == "3%") & (rows["domain"] != "summary"), 22 / 24.03)
    rows.to_csv(path, index=False)
    with pytest.raises(Resolved, match="a layer is not at 22 % by A"):
        audit.point(6)


def test_every_751st_of_52002_samples_are_70():
    """With the first: 52,002 // 751 leaves it out."""
    samples = audit.point(25)["samples"]
    assert samples["Alpaca by steps of 751"] == 70 == sum(sample % 751 == 0 for sample in range(52_002))


def test_every_point_can_be_ended():
    assert set(CORRECTED) | {1, 4, 6} == set(audit.POINTS)


def test_ratios_are_those_of_the_metrics_room():
    """Written apart, since this room stands below it."""
    replica, victim = paper.column(26, "Llama2-7B", "FT-all", "0"), paper.pretrain("Llama2-7B")
    assert audit_tools.adr_a(replica, "Llama2-7B") == pytest.approx(100 * metrics.adr_mean_of_ratios(replica, victim))
    assert audit_tools.adr_b(replica, "Llama2-7B") == pytest.approx(100 * metrics.adr_ratio_of_means(replica, victim))


def test_the_notebook_has_a_cell_a_point():
    notebook = nbformat.read("notebooks/05_tables.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code" and "audit.point" in cell.source]
    assert cells == [f"print(audit.says({number}))\naudit.point({number})" for number in audit.POINTS]
