"""Result files are written whole and in their schema."""

import pandas as pd
import pytest

from solid_utils.core import columns, schema
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


def test_what_was_read_once_is_known_by_its_bytes_alone(tmp_path, monkeypatch):
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    schema.write([{"id": "1", "victim": "x", "replica": "y"}], schema.ANSWERS, path)
    given = schema.read(path, schema.ANSWERS)
    given.loc[0, "victim"] = "spoilt"
    shown = []
    monkeypatch.setattr(schema.readers, "read_csv", lambda *given, **_: shown.append(given))
    other.write_bytes(path.read_bytes())
    assert schema.read(other, schema.ANSWERS)["victim"].tolist() == ["x"] and not shown
    monkeypatch.undo()
    path.write_bytes(path.read_bytes().replace(b"y", b"z"))  # as many bytes, perhaps in the same tick of the clock
    assert schema.read(path, schema.ANSWERS)["replica"].tolist() == ["z"]
    path.write_bytes(b"id,victim,replica\n,x,y\n")
    with pytest.raises(StudyError, match="a.csv: line 2"):
        schema.read(path, schema.ANSWERS)
    with pytest.raises(StudyError, match="a.csv: line 2"):
        schema.read(path, schema.ANSWERS)


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


def scores(**change) -> list[dict]:
    """Scores of an attack at its start and its end."""
    row = dict.fromkeys(schema.SCORES, "x") | dict.fromkeys(columns.COUNTS.split(), 1)
    row = {name: row[name] for name in schema.SCORES}
    row |= {"share": 0.5, "only_layers": True, "seed": 42, "chance": None, "floor": None, "task_version": 1}
    row |= {"stderr": 0.1, "value": 0.25, "revision": "123456789012", "benchmark": "evaluation"}
    rows = [
        row | {"steps": steps, "benchmark": name, "metric": metric}
        for steps in (0, 10)
        for name in ("evaluation", "evaluation_c4")
        for metric in ("agreement", "kl")
    ]
    rows[1] |= change
    return rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": -1}, "n is -1, not a count"),
        ({"steps": 2.5}, "steps is 2.5, not a count"),
        ({"queries": "many"}, "queries is 'many', not a count"),
        ({"share": 1.5}, "share is 1.5, not a share between 0 and 1"),
        ({"metric": "greedy_match", "value": 1.2}, "value of greedy_match is 1.2, not a share between 0 and 1"),
        ({"stderr": -0.1}, "stderr is -0.1, not a number of 0 or more"),
        ({"benchmark": " "}, "benchmark is ' ', not a text"),
        ({"model": None}, "model is blank, not a text"),
        ({"seed": "first"}, "seed is 'first', not a seed"),
        ({"only_layers": "perhaps"}, "only_layers is 'perhaps', not True or False"),
        ({"metric": "agreement"}, "a row of x, x, x, 42, 0, evaluation, agreement, 1 stands there twice"),
    ],
)
def test_what_may_not_stand_in_a_column_is_neither_written_nor_read(change, said, tmp_path):
    path = tmp_path / "scores.csv"
    with pytest.raises(StudyError, match=f"scores.csv: row 2: {said}; nothing was written"):
        schema.write(scores(**change), schema.SCORES, path)
    assert not path.exists()
    pd.DataFrame(scores(**change)).to_csv(path, index=False)
    with pytest.raises(StudyError, match=f"scores.csv: line 3: {said.split(' is ')[0]}.*; delete it"):
        schema.read(path, schema.SCORES)


def test_what_is_whole_comes_back_with_its_types(tmp_path):
    schema.write(scores(), schema.SCORES, tmp_path / "scores.csv")
    found = schema.read(tmp_path / "scores.csv", schema.SCORES)
    assert found["revision"].unique().tolist() == ["123456789012"] and found["seed"].unique().tolist() == [42]
    assert found["steps"].dtype.kind == "i" and found["only_layers"].dtype == bool and found["floor"].isna().all()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "scores.csv"
    schema.write(scores(), schema.SCORES, path)
    whole = path.read_bytes()
    # Every byte of the last two rows, line ends with them: what is left may lack rows, cells or digits.
    for end in range(whole[:-1].rindex(b"\n", 0, whole[:-1].rindex(b"\n")), len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(StudyError, match="scores.csv: (no table|cut|no rows|columns|line)"):
            schema.read(path, schema.SCORES)


def test_lines_are_counted_as_an_editor_does(tmp_path):
    rows = [{"id": name, "victim": "two\nlines", "replica": ""} for name in ("a", "b", "b")]
    pd.DataFrame(rows).to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(StudyError, match="answers.csv: line 7: a row of b stands there twice"):
        schema.read(tmp_path / "answers.csv", schema.ANSWERS)
