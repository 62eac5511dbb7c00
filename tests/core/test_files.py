"""Files are written whole or not at all, and JSON lines come back as they were written."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from solid_utils.core import files, readers
from solid_utils.core.errors import StudyError


def test_the_bytes_of_every_kind(tmp_path):
    files.write_text("ä\n", tmp_path / "new" / "folder" / "text")
    files.write_json({"a": [1]}, tmp_path / "one.json")
    files.write_json({"a": [1]}, tmp_path / "indented.json", indent=2)
    files.write_lines([{"a": "ä"}, {"a": "b"}], tmp_path / "lines.jsonl")
    assert (tmp_path / "new" / "folder" / "text").read_bytes() == b"\xc3\xa4\n"
    assert (tmp_path / "one.json").read_bytes() == b'{"a": [1]}\n'
    assert (tmp_path / "indented.json").read_bytes() == b'{\n  "a": [\n    1\n  ]\n}\n'
    assert (tmp_path / "lines.jsonl").read_bytes() == b'{"a": "\xc3\xa4"}\n{"a": "b"}\n'
    assert len(list(tmp_path.iterdir())) == 4, "no partial is left"


def test_an_error_on_the_way_leaves_the_old_file_and_no_partial(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.whole(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with files.whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StudyError, match=r"file/a.json: cannot be written, as .*/file is no folder; name another place"
    ):
        files.write_json({}, tmp_path / "file" / "a.json")
    with (
        pytest.raises(StudyError, match=r"b.json: cannot be written \(.*No space left"),
        files.whole(tmp_path / "b.json"),
    ):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "number, fix",
    [
        (errno.ENOSPC, "free some disk space and start again"),
        (errno.EACCES, "allow this user to use it, or name another place, and start again"),
        (errno.EROFS, "allow this user to use it, or name another place, and start again"),
    ],
)
def test_an_error_of_the_disk_leaves_the_old_file_and_names_its_fix(number, fix, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    for owner, call in ((type(path), "write_text"), (os, "fsync"), (type(path), "replace")):
        with (
            monkeypatch.context() as patched,
            pytest.raises(StudyError, match=rf"a.json: cannot be written .*; {fix}$"),
        ):
            patched.setattr(owner, call, refused)
            files.write_json({}, path)
        assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_is_no_plain_file_is_refused_and_stays(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    for name, message in {
        "link": "is a link",
        "dangling": "is a link",
        "dangling/a": "is no folder",
        "folder": "is a folder; name a file",
        "pipe": "is a device or a pipe; name a file",
        "old/a/b": "old is no folder; name another place",
        "x" * 300: "File name too long",
    }.items():
        with pytest.raises(StudyError, match=message) as caught:
            files.write_text("new", tmp_path / name)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/full", ".", "/", "", ".."])
def test_devices_and_folders_are_refused(path, monkeypatch):
    def no(*_, **__):
        raise AssertionError("a device would be gone")

    monkeypatch.setattr(Path, "replace", no)
    with pytest.raises(StudyError, match="is a (link|folder|device)"):
        files.write_text("", Path(path))


def test_a_process_that_dies_leaves_the_old_file_and_another_one_writes_on(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    code = f"""
import os, pathlib
from solid_utils.core import files, readers
with files.whole(pathlib.Path({str(path)!r})) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    dead = subprocess.Popen([sys.executable, "-c", code])
    assert dead.wait() == -signal.SIGKILL and path.read_text() == "old"
    with files.whole(path) as partial:
        assert partial.name == f"a.json.partial-{os.getpid()}" and not partial.exists()
        partial.write_text("new")
    assert path.read_text() == "new" and (tmp_path / f"a.json.partial-{dead.pid}").read_text() == "half"


def test_lines_end_where_json_lines_do(tmp_path):
    items = [{"a": "one\u2028line\u0085still\x0cone"}, {"b": 2}]
    files.write_lines(items, tmp_path / "a.jsonl")
    assert readers.read_lines(tmp_path / "a.jsonl", "") == items
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as packed:
        packed.write((tmp_path / "a.jsonl").read_bytes())
    assert readers.read_lines(tmp_path / "a.jsonl.gz", "") == items


def test_a_missing_file_and_a_broken_line_name_the_fix(tmp_path):
    with pytest.raises(StudyError, match="none.jsonl: missing; run `dvc repro sets`$"):
        readers.read_lines(tmp_path / "none.jsonl", "run `dvc repro sets`")
    (tmp_path / "cut.jsonl").write_text(json.dumps({"a": 1}) + '\n{"a":')
    with pytest.raises(StudyError, match="cut.jsonl: line 2 is no JSON .*; run `dvc repro sets`$"):
        readers.read_lines(tmp_path / "cut.jsonl", "run `dvc repro sets`")
