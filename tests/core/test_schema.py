"""Result files are written whole and in their schema."""

import pandas as pd
import pytest

from solid_utils.core import schema
from solid_utils.core.errors import StudyError


def test_tables_are_written_whole_and_in_their_schema(tmp_path):
    row = dict.fromkeys(schema.ANSWERS, "x")
    schema.write([row], schema.ANSWERS, tmp_path / "a.csv")
    assert list(tmp_path.glob("*")) == [tmp_path / "a.csv"]
    assert schema.read(tmp_path / "a.csv", schema.ANSWERS).to_dict("records") == [row]
    with pytest.raises(StudyError, match="columns .'time'. do not fit core/schema.py"):
        schema.write(pd.DataFrame([row | {"time": 1}]), schema.ANSWERS, tmp_path / "b.csv")
    with pytest.raises(StudyError, match="missing; run `dvc repro`"):
        schema.read(tmp_path / "b.csv", schema.ANSWERS)
    with pytest.raises(StudyError, match="columns do not fit"):
        schema.read(tmp_path / "a.csv", schema.SCORES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_was_not_measured_becomes_no_row(value, tmp_path):
    columns = ["benchmark", "metric", "value", "stderr"]
    good = {"benchmark": "evaluation", "metric": "agreement", "value": 0.5, "stderr": float("nan")}
    schema.write([good], columns, tmp_path / "scores.csv")
    with pytest.raises(StudyError, match="scores.csv: value of evaluation, kl is (nan|inf|None); nothing was written"):
        schema.write([good, good | {"metric": "kl", "value": value}], columns, tmp_path / "scores.csv")
    assert len(schema.read(tmp_path / "scores.csv", columns)) == 1


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n1,2,3\n"])
def test_what_is_no_table_is_named(text, tmp_path):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(StudyError, match="scores.csv: no table .*; delete it and run `dvc repro`"):
        schema.read(tmp_path / "scores.csv", ["a", "b"])
