"""What comes in is read one way, and what is wrong is one line with path and line number."""

import gzip
import json
from pathlib import Path

import pytest

from solid_utils.core import machine, readers, schema
from solid_utils.core.errors import StudyError

GOOD = [{"prompt": f"Question {number}? ", "answer": "Grüße"} for number in range(3)]


def lines(path: Path, items: list, encoding: str = "utf8", end: str = "\n") -> Path:
    texts = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    path.write_bytes("".join(text + end for text in texts).encode(encoding))
    return path


def texts(path: Path) -> list[dict]:
    return readers.read_texts(path, ("prompt", "answer"), "mend it")


@pytest.mark.parametrize(("encoding", "end"), [("utf8", "\n"), ("utf-8-sig", "\n"), ("utf8", "\r\n"), ("utf8", "\n\n")])
def test_healthy_texts_are_read_as_they_are(tmp_path, encoding, end):
    items = [*GOOD, {"prompt": "one\u2028line\u0085 \x7f", "answer": "😀", "more": [1, {"a": None}]}]
    found = texts(lines(tmp_path / "a.jsonl", items, encoding, end))
    assert [(row["prompt"], row["answer"]) for row in found] == [(item["prompt"], item["answer"]) for item in items]
    step = end.count("\n")
    assert [row["line"] for row in found] == [1, 1 + step, 1 + 2 * step, 1 + 3 * step]


def test_a_last_line_needs_no_end_and_a_packed_file_is_unpacked(tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD)
    path.write_bytes(path.read_bytes().rstrip())
    assert readers.read_lines(path, "") == GOOD
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert readers.read_lines(tmp_path / "a.jsonl.gz", "") == GOOD
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    with pytest.raises(StudyError, match=r"a.jsonl.gz: cannot be read \(.*\); mend it"):
        texts(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('{"prompt": "a", "answer": null}', "its answer is null"),
        ('{"prompt": "a", "answer": NaN}', "is no JSON .NaN is no number"),
        ('{"prompt": "a", "answer": "b", "more": [-Infinity]}', "is no JSON .-Infinity is no number"),
        ('{"prompt": "a", "answer": "b", "more": 1e999}', "is no JSON .1e999 is no number"),
        ('{"prompt": 7, "answer": "b"}', "its prompt is a number"),
        ('{"prompt": true, "answer": "b"}', "its prompt is a truth value"),
        ('{"prompt": ["a"], "answer": "b"}', "its prompt is a list"),
        ('{"prompt": "a", "answer": {"text": "b"}}', "its answer is an object"),
        ('{"prompt": "", "answer": "b"}', "its prompt is blank"),
        ('{"prompt": "a", "answer": " \\n"}', "its answer is blank"),
        ('{"prompt": "a"}', "it has no answer"),
        ("{}", "it has no prompt"),
        ("null", "is no JSON object but null"),
        ('["a", "b"]', "is no JSON object but a list"),
        ('{"prompt": "a", "prompt": "c", "answer": "b"}', "is no JSON .prompt stands twice"),
        ('{"prompt": "a", "answer": "\\ud83d"}', "is no JSON .*surrogates"),
        ('{"prompt": "a", "answer": "b', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, said):
    with pytest.raises(StudyError, match=rf"a.jsonl: line 2:? {said}.*; mend it$"):
        texts(lines(tmp_path / "a.jsonl", [GOOD[0], bad, GOOD[1]]))


def test_other_bytes_and_no_lines_are_named(tmp_path):
    latin = lines(tmp_path / "latin.jsonl", [{"prompt": "a", "answer": "b"}, *GOOD], "latin-1")
    with pytest.raises(StudyError, match=r"latin.jsonl: line 2 is not UTF-8 \(byte 0xfc\); mend it"):
        texts(latin)
    with pytest.raises(StudyError, match="wide.jsonl: line 1 is not UTF-8"):
        texts(lines(tmp_path / "wide.jsonl", GOOD, "utf-16"))
    for empty in ("", "\n\n", "\ufeff"):
        (tmp_path / "empty.jsonl").write_text(empty)
        with pytest.raises(StudyError, match="empty.jsonl: empty; mend it"):
            texts(tmp_path / "empty.jsonl")
    (tmp_path / "whole.jsonl").write_text(json.dumps(GOOD, indent=1))
    with pytest.raises(StudyError, match="whole.jsonl: line 1 is no JSON"):
        texts(tmp_path / "whole.jsonl")
    with pytest.raises(StudyError, match="a folder, no file"):
        texts(tmp_path)


def test_json_values_and_counts(tmp_path):
    path = tmp_path / "l_star.json"
    path.write_text('{"l_star": 3}')
    assert readers.read_number(path, "l_star", "") == 3
    for text in ('{"l_star": -1}', '{"l_star": true}', '{"l_star": 3.0}', '{"l": 3}', '{"l_star": ', "[3]", ""):
        path.write_text(text)
        with pytest.raises(StudyError, match="l_star.json: .*; mend it$"):
            readers.read_number(path, "l_star", "mend it")
    path.write_text("[NaN]")
    assert str(readers.read_json(path, "", finite=False)) == "[nan]"  # work of the study's own, kept between runs


def test_a_machine_file_holds_what_the_machine_said(tmp_path):
    here = machine.describe(2)
    (tmp_path / "machine.json").write_text(json.dumps(here))
    assert machine.read(tmp_path / "machine.json") == here
    for change in ({"threads": 2}, {"cpu": None}):
        (tmp_path / "machine.json").write_text(json.dumps(here | change))
        with pytest.raises(StudyError, match=f"machine.json: {next(iter(change))} is (2|None), no text"):
            machine.read(tmp_path / "machine.json")


def test_every_shipped_file_reads():
    kinds = [
        schema.SCORES,
        schema.ITEMS,
        schema.CURVE,
        schema.ANSWERS,
        schema.LEAKS,
        schema.PLAN,
        schema.FLOOR,
        schema.DD,
    ]
    seen = 0
    for path in sorted(Path("reference").rglob("*.csv")):
        columns = readers.csv_header(path, "")
        seen += columns in kinds
        schema.read(path, columns) if columns in kinds else readers.read_csv(path, "")
    assert seen > 200
    for path in Path("reference").rglob("*.json"):
        machine.read(path) if path.name == "machine.json" else readers.read_object(path, "")
