"""Copies of the hub's data sets in a folder, read and checked: every fault is one line that names file and row.

`datasets` finds a copy's files, as it does when a benchmark is loaded; it builds and caches nothing here, so all copies
are checked in seconds.
"""

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
from datasets.load import dataset_module_factory

from solid_utils.core.errors import StudyError
from solid_utils.tasks.downloads import NO_NAME, DataSet

POINTER = b"version https://git-lfs"
PARQUET = b"PAR1"
AGAIN = "download it again"
Files = dict[str, list[Path]]  # by split
Row = tuple[Path, int, dict]  # the file, the row's number in it from 1, the row
PARTS = re.compile(r"-(\d{5})-of-(\d{5})\.")


def faults(mirror: Path, sets: Iterable[DataSet]) -> tuple[list[str], list[str]]:
    """What is wrong with copies, a line each, all at once; and a line a split that is right, with its digest."""
    configurations.cache_clear()  # a copy may have been mended since
    wrong, right = [], []
    for one in sets:
        for name in one.names():
            for split in one.splits:
                try:
                    right.append(f"{one.repo} {name} {split} {verify(mirror / one.repo, one, name, split)}")
                except StudyError as error:
                    wrong.append(str(error))
    return list(dict.fromkeys(wrong)), right  # a folder that is missing is missing once


def whole(place: Path) -> None:
    """Raises StudyError where a copy's folder is missing, holds a loading script, or a link that leads nowhere."""
    if not place.is_dir():
        raise StudyError(f"{place}: missing; copy the data set there, or mend published.mirror in params.yaml")
    if (script := place / f"{place.name}.py").exists():
        raise StudyError(f"{script}: a loading script, which is never run; copy the commit that holds tables instead")
    for path in place.rglob("*"):
        if path.is_symlink() and not path.exists():
            raise StudyError(f"{path}: a link that leads nowhere; copy the file itself")


@lru_cache(maxsize=64)
def configurations(place: Path) -> tuple[dict, dict]:
    """{name: its unresolved datasets.BuilderConfig} and {name: {split: rows it should have}} of a copy.

    Raises StudyError where it is no data set.
    """
    whole(place)
    try:
        module = dataset_module_factory(str(place))
    except Exception as error:  # of any kind: broken YAML, no data file, a format that datasets does not know
        raise StudyError(f"{place}: no data set ({_line(error)}); {AGAIN}, README.md too") from None
    told = {name: info.splits or {} for name, info in (module.dataset_infos or {}).items()}
    counts = {name: {split: one.num_examples for split, one in splits.items()} for name, splits in told.items()}
    return {one.name: one for one in module.builder_configs_parameters.builder_configs}, counts


def files(place: Path, name: str) -> Files:
    """The data files of a configuration, by split. Raises StudyError where the copy has no such configuration."""
    found, _ = configurations(place)
    if name not in found and not (name == NO_NAME and len(found) == 1):
        raise StudyError(
            f"{place}: no configuration '{name}' (README.md names {_some(found)}); {AGAIN}, README.md and the files of "
            f"{name}"
        )
    config = found.get(name) or next(iter(found.values()))
    try:
        config._resolve_data_files(base_path=str(place), download_config=datasets.DownloadConfig())
    except OSError as error:
        raise StudyError(f"{place}: {name}: {_line(error)}; {AGAIN}") from None
    splits = {str(split): [Path(path) for path in paths] for split, paths in (config.data_files or {}).items()}
    return {split: paths for split, paths in splits.items() if paths}


def rows(place: Path, one: DataSet, name: str, split: str) -> Iterator[Row]:
    """The rows of a split, each with its file and number. Raises StudyError at the first that cannot be read."""
    found = files(place, name)
    if split not in found:
        raise StudyError(f"{place}: {name}: no '{split}' split (it has {_some(found)}); {AGAIN}")
    for path in found[split]:
        for number, row in _read(path, tuple(one.columns)):
            if lacking := [column for column in one.columns if column not in row]:
                raise StudyError(
                    f"{path}: row {number}: no column '{lacking[0]}' (it has {_some(row)}); copy {one.repo} itself"
                )
            yield path, number, row


def sound_rows(place: Path, one: DataSet, name: str, split: str) -> Iterator[Row]:
    """`rows`, each checked. Raises StudyError at the first fault."""
    for path, number, row in rows(place, one, name, split):
        for column, check in one.columns.items():
            if wrong := check(row[column]):
                raise StudyError(f"{path}: row {number}: {column}: {wrong}; {AGAIN}")
        if wrong := one.whole(row):
            raise StudyError(f"{path}: row {number}: {wrong}; {AGAIN}")
        yield path, number, row


def verify(place: Path, one: DataSet, name: str, split: str) -> str:
    """Checks every row of a split, and that all are there; returns a digest of its files. Raises StudyError if not."""
    seen, count, twice = set(), 0, ""
    for path, number, row in sound_rows(place, one, name, split):
        count += 1
        if (key := hash(repr([row[column] for column in one.columns]))) in seen:
            twice = twice or f"{path}: row {number}"
        seen.add(key)
    paths = files(place, name)[split]
    if not count:
        raise StudyError(f"{paths[0]}: the split '{split}' of {name} is empty; {AGAIN}")
    # TriviaQA has some questions twice, once for the web and once for Wikipedia; a file that lies there twice has all.
    if twice and 2 * len(seen) <= count:
        raise StudyError(f"{twice}: every row of {name}, {split} stands there twice; remove the copies of its files")
    _all_there(place, paths, name, split, count)
    return _digest(place, paths)


def _all_there(place: Path, paths: list[Path], name: str, split: str, count: int) -> None:
    """Raises StudyError where fewer files or rows are there than their names, or README.md, say."""
    wanted = max((int(found[2]) for path in paths if (found := PARTS.search(path.name))), default=0)
    if wanted > len(paths):
        raise StudyError(f"{paths[0]}: {len(paths)} of {wanted} files of '{split}' are there; {AGAIN}")
    said = configurations(place)[1].get(name, {}).get(split)
    if said and said != count:
        raise StudyError(f"{paths[0]}: {count} rows of {name}, {split}, README.md says {said}; {AGAIN}")


def _read(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict]]:
    """(number from 1, row) of a file. Raises StudyError where it cannot be read."""
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    reader = {".parquet": _parquet, ".jsonl": _json, ".json": _json, ".csv": _csv}.get(kind)
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(POINTER):
        raise StudyError(f"{path}: a pointer of Git LFS, not the file; run `git lfs pull` there, or {AGAIN}")
    if not head:
        raise StudyError(f"{path}: an empty file; {AGAIN}")
    if reader is None:
        raise StudyError(f"{path}: no format that is read here (parquet, json, jsonl, csv); copy the tables instead")
    number = 0
    try:
        for row in reader(path, columns):
            number += 1
            yield number, row
    except (OSError, EOFError, ValueError, pyarrow.ArrowException) as error:
        raise StudyError(f"{path}: row {number + 1}: cannot be read ({_line(error)}); {AGAIN}") from None


def _parquet(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    with pyarrow.parquet.ParquetFile(path) as table:
        there = table.schema_arrow.names
        # Where a column is missing, the first row shows which there are.
        wanted = list(columns) if set(columns) <= set(there) else there
        for batch in table.iter_batches(columns=wanted):
            yield from batch.to_pylist()


def _json(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf8") as file:
        first = file.read(1)
        file.seek(0)
        found = json.load(file) if first == "[" else map(json.loads, file)
        for row in found:
            if not isinstance(row, dict):
                raise ValueError("no object")
            yield row


def _csv(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf8", newline="") as file:
        for row in csv.DictReader(file):
            # As datasets reads it: a column of whole numbers holds numbers.
            yield {name: int(cell) if cell and re.fullmatch(r"-?\d+", cell) else cell for name, cell in row.items()}


def _digest(place: Path, paths: list[Path]) -> str:
    """sha256 over names and contents of files, README.md among them, which says what they are."""
    total = hashlib.sha256()
    for path in [*paths, *(one for one in [place / "README.md"] if one.exists())]:
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _some(names: object) -> str:
    """The first few names, for a line."""
    found = sorted(map(str, names))
    return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "") if found else "none"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
