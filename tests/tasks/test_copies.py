"""Copies of the hub's data sets: what is wrong with one is one line that names file and row."""

import gzip
import json
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from solid_utils.tasks import copies, downloads
from tests import mirrors

PIQA, ARC = "baber/piqa", "allenai/ai2_arc"
ROWS = [mirrors.MAKERS[PIQA][1](number) for number in range(4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return mirrors.write(tmp_path_factory.mktemp("whole"), [PIQA, ARC, "openai/gsm8k"])


@pytest.fixture
def mirror(whole, tmp_path) -> Path:
    """A copy of its own, to break."""
    return shutil.copytree(whole, tmp_path / "mirror")


def faults(mirror: Path, repo: str = PIQA) -> list[str]:
    wrong, _ = copies.faults(mirror, [one for one in downloads.DATA_SETS if one.repo == repo])
    assert all("\n" not in line and line.startswith(str(mirror / repo)) for line in wrong)
    return wrong


def change(path: Path, number: int, **cells) -> None:
    """One row of a JSON-lines file, counted from 1."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number - 1] |= cells
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(place: Path, split: str, rows: list[dict], name: str = "default") -> Path:
    """A split of a copy as parquet, its other splits as well."""
    configs = yaml.safe_load((place / "README.md").read_text().split("---")[1])["configs"]
    for config in configs:
        for file in config["data_files"]:
            found = [json.loads(line) for line in (place / file["path"]).read_text().splitlines()]
            file["path"] = file["path"].replace(".jsonl", ".parquet")
            mine = config["config_name"] == name and file["split"] == split
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows if mine else found), place / file["path"])
    (place / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    return place / name / f"{split}.parquet"


def test_whole_copies_are_right_and_known_by_their_bytes(mirror):
    assert faults(mirror) == faults(mirror, ARC) == faults(mirror, "openai/gsm8k") == []
    sets = [one for one in downloads.DATA_SETS if one.repo == PIQA]
    before = copies.faults(mirror, sets)[1]
    assert len(before) == 2 and before == copies.faults(mirror, sets)[1]
    change(mirror / PIQA / "default/validation.jsonl", 2, goal="Another goal")
    after = copies.faults(mirror, sets)[1]
    assert [one == two for one, two in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize(
    ("number", "cells", "line"),
    [
        (3, {"label": "1"}, "row 3: label: is '1', not one of 0, 1"),
        (3, {"label": 2}, "row 3: label: is 2, not one of 0, 1"),
        (3, {"label": True}, "row 3: label: is True, not one of 0, 1"),
        (1, {"sol1": None}, "row 1: sol1: is no text (None)"),
        (9, {"sol2": " "}, "row 9: sol2: is no text (' ')"),
        (2, {"goal": ["a"]}, "row 2: goal: is no text (['a'])"),
    ],
)
def test_a_wrong_cell_is_named(mirror, number, cells, line):
    path = mirror / PIQA / "default/validation.jsonl"
    change(path, number, **cells)
    assert faults(mirror) == [f"{path}: {line}; download it again"]


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        ({"answerKey": "E"}, "row 4: answerKey: is 'E', not one of ['A', 'B', 'C', 'D']"),
        ({"choices": {"text": ["a"], "label": ["A"]}}, "row 4: choices: has 1 entries, 3 to 5 are needed"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}}, "row 4: choices: is no {text, label} of as many"),
    ],
)
def test_a_right_answer_is_among_the_choices(mirror, cells, line):
    path = mirror / ARC / "ARC-Easy/test.jsonl"
    change(path, 4, **cells)
    (wrong,) = faults(mirror, ARC)
    assert wrong.startswith(f"{path}: {line}")


def test_mmlus_questions_have_four_choices(tmp_path):
    row = mirrors.MAKERS["cais/mmlu"][1]
    rows = [row(number) for number in range(5)]
    rows[2]["choices"] = ["a", "b", "c"]
    mirrors.attack_sources(tmp_path, [{"instruction": "a", "input": "", "output": "b"}], rows)
    wrong, _ = copies.faults(tmp_path, [downloads.DATA_SETS[-1]])
    path = tmp_path / "cais/mmlu/all/auxiliary_train.jsonl"
    assert wrong == [f"{path}: row 3: choices: has 3 entries, 4 are needed; download it again"]


def test_columns_splits_and_configurations_that_are_not_there_are_named(mirror):
    path = mirror / PIQA / "default/validation.jsonl"
    path.write_text("".join(json.dumps({"text": f"{n}", "label": 1}) + "\n" for n in range(3)))
    assert faults(mirror) == [f"{path}: row 1: no column 'goal' (it has label, text); copy {PIQA} itself"]
    configs = [{"config_name": "default", "data_files": [{"split": "test", "path": "default/test.jsonl"}]}]
    (mirror / PIQA / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    assert faults(mirror) == [
        f"{mirror / PIQA}: default: no '{split}' split (it has test); download it again"
        for split in ("validation", "train")
    ]
    (mirror / ARC / "README.md").write_text((mirror / ARC / "README.md").read_text().replace("ARC-Easy\n", "Easy\n"))
    assert faults(mirror, ARC)[0].startswith(f"{mirror / ARC}: no configuration 'ARC-Easy' (README.md names ARC-Chall")


def test_half_a_download_is_named(mirror):
    path = mirror / PIQA / "default/validation.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert faults(mirror)[0].startswith(f"{path}: row 9: cannot be read (")
    path.write_text("")
    assert faults(mirror) == [f"{path}: an empty file; download it again"]
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert "a pointer of Git LFS, not the file; run `git lfs pull`" in faults(mirror)[0]
    path.unlink()
    assert faults(mirror) and str(mirror / PIQA) in faults(mirror)[0]
    path.symlink_to("nowhere")
    assert faults(mirror)[0] == f"{path}: a link that leads nowhere; copy the file itself"
    shutil.rmtree(mirror / PIQA)
    assert faults(mirror) == [
        f"{mirror / PIQA}: missing; copy the data set there, or mend published.mirror in params.yaml"
    ]


def test_broken_parquet_is_named(mirror):
    path = as_parquet(mirror / PIQA, "validation", ROWS)
    assert faults(mirror) == []
    good = path.read_bytes()
    path.write_bytes(good[:-12])
    assert faults(mirror)[0].startswith(f"{path}: row 1: cannot be read (")
    path.write_bytes(good.replace(b"Goal 0", b"G\xff\xffl 0"))
    assert faults(mirror)[0].startswith(f"{path}: row ")
    as_table = pyarrow.Table.from_pylist([row | {"label": 0.0} for row in ROWS])
    pyarrow.parquet.write_table(as_table, path)
    assert faults(mirror) == [f"{path}: row 1: label: is 0.0, not one of 0, 1; download it again"]
    pyarrow.parquet.write_table(as_table.slice(0, 0), path)
    assert faults(mirror) == [f"{path}: the split 'validation' of default is empty; download it again"]


def test_a_file_that_lies_there_twice_and_a_part_that_is_missing_are_named(mirror):
    path = mirror / PIQA / "default/validation.jsonl"
    path.write_text(path.read_text() * 2)
    assert faults(mirror) == [
        f"{path}: row 10: every row of default, validation stands there twice; remove the copies of its files"
    ]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:11]))
    assert faults(mirror) == [], "some questions do come twice"
    card = yaml.safe_load((mirror / PIQA / "README.md").read_text().split("---")[1])
    card["dataset_info"] = {"config_name": "default", "splits": [{"name": "validation", "num_examples": 12}]}
    (mirror / PIQA / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    assert faults(mirror) == [f"{path}: 11 rows of default, validation, README.md says 12; download it again"]
    part = path.rename(path.with_name("validation-00000-of-00002.jsonl"))
    card["configs"][0]["data_files"][1]["path"] = "default/validation-*"
    (mirror / PIQA / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    assert faults(mirror) == [f"{part}: 1 of 2 files of 'validation' are there; download it again"]


def test_scripts_are_never_run(mirror):
    script = mirror / PIQA / "piqa.py"
    script.write_text("raise SystemExit('run')")
    assert faults(mirror) == [
        f"{script}: a loading script, which is never run; copy the commit that holds tables instead"
    ]


def test_gzipped_lines_and_lists_are_read(mirror):
    path = mirror / PIQA / "default/validation.jsonl"
    (path.parent / "validation.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    card = (mirror / PIQA / "README.md").read_text()
    (mirror / PIQA / "README.md").write_text(card.replace("validation.jsonl", "validation.jsonl.gz"))
    assert faults(mirror) == []
    (path.parent / "validation.jsonl.gz").write_bytes(gzip.compress(path.read_bytes())[:-15])
    assert faults(mirror)[0].startswith(f"{path}.gz: row ")
    (mirror / PIQA / "README.md").write_text(card)
    path.write_text(json.dumps(ROWS))
    assert faults(mirror) == []
