"""What comes in, read one way: text, JSON, JSON lines and CSV; one line names the path and the line that is wrong."""

import csv
import gzip
import io
import json
import math
import zlib
from pathlib import Path

import pandas as pd

from solid_utils.core.errors import StudyError

BLANK = {"keep_default_na": False, "na_values": [""]}  # pandas would take words such as None and NA for blanks as well


def read_text(path: Path, fix: str) -> str:
    """A file's text, gunzipped if its name ends in .gz: UTF-8, with or without a byte-order mark.

    Raises StudyError with `fix`, such as "run `dvc repro sets`", where it is missing, no file, broken or other bytes.
    """
    data = _bytes(path, fix)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise StudyError(f"{path}: line {number} is not UTF-8 (byte {data[error.start]:#x}); {fix}") from None


def _bytes(path: Path, fix: str) -> bytes:
    if not path.exists():
        raise StudyError(f"{path}: missing; {fix}")
    if path.is_dir():
        raise StudyError(f"{path}: a folder, no file; {fix}")
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"{path}: cannot be read ({_first_line(error)}); {fix}") from None


def parsed(text: str, finite: bool = True) -> object:
    """The value of a JSON text. Raises ValueError for a key that stands twice, half a character (a lone surrogate),
    nesting without end and, if `finite`, for NaN, Infinity and numbers as large."""
    options = {"parse_constant": _no_number, "parse_float": _number} if finite else {}
    try:
        value = json.loads(text, object_pairs_hook=_once, **options)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf8")  # UnicodeEncodeError is a ValueError
    return value


def _once(pairs: list[tuple[str, object]]) -> dict:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} stands twice")
    return dict(pairs)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _number(digits: str) -> float:
    return float(digits) if math.isfinite(float(digits)) else _no_number(digits)


def read_json(path: Path, fix: str, finite: bool = True) -> object:
    """A JSON value, see `parsed`. Raises StudyError with `fix` where there is none."""
    try:
        return parsed(read_text(path, fix), finite)
    except ValueError as error:
        raise StudyError(f"{path}: no JSON ({_first_line(error)}); {fix}") from None


def read_object(path: Path, fix: str, finite: bool = True) -> dict:
    """A JSON object, see `read_json`."""
    value = read_json(path, fix, finite)
    if not isinstance(value, dict):
        raise StudyError(f"{path}: no JSON object; {fix}")
    return value


def read_number(path: Path, name: str, fix: str) -> int:
    """A count, 0 or more, by its name in a JSON object; see `read_json`."""
    value = read_object(path, fix).get(name)
    if type(value) is not int or value < 0:
        raise StudyError(f"{path}: {name} is {value!r}, no count; {fix}")
    return value


def read_numbered(path: Path, fix: str) -> list[tuple[int, dict]]:
    """Line number and object of every line of JSON lines that is not blank. Raises StudyError naming path and line."""
    rows = []
    for number, line in enumerate(read_text(path, fix).split("\n"), start=1):  # splitlines also cuts at U+2028
        if not line.strip():
            continue
        try:
            value = parsed(line)
        except ValueError as error:
            raise StudyError(f"{path}: line {number} is no JSON ({_first_line(error)}); {fix}") from None
        if not isinstance(value, dict):
            raise StudyError(f"{path}: line {number} is no JSON object but {_shown(value)}; {fix}")
        rows.append((number, value))
    return rows


def read_lines(path: Path, fix: str) -> list[dict]:
    """The objects of JSON lines, see `read_numbered`."""
    return [row for _, row in read_numbered(path, fix)]


def read_texts(path: Path, keys: tuple[str, ...], fix: str) -> list[dict]:
    """JSON lines in which each of `keys` is a text that is not blank; {"line", *keys}, in this order.

    Raises StudyError naming the line and the key, or where there is no line at all.
    """
    rows = []
    for number, item in read_numbered(path, fix):
        for key in keys:
            if not isinstance(item.get(key), str) or not item[key].strip():
                what = f"its {key} is {_shown(item[key])}" if key in item else f"it has no {key}"
                raise StudyError(f"{path}: line {number}: {what}; {fix}")
        rows.append({"line": number, **{key: item[key] for key in keys}})
    if not rows:
        raise StudyError(f"{path}: empty; {fix}")
    return rows


def read_csv(path: Path, fix: str, **options: object) -> pd.DataFrame:
    """A table with a header and rows, in which only an empty cell is a blank; `options` are pandas.read_csv's.

    Raises StudyError naming the line where a row has other cells than the header, or the file was cut.
    """
    text = read_text(path, fix)
    lines = csv_lines(text, path, fix)
    try:
        table = pd.read_csv(io.StringIO(text), **(BLANK | {"low_memory": False} | options))
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise StudyError(f"{path}: no table ({_first_line(error)}); {fix}") from None
    if len(table) != len(lines) - 1:
        raise StudyError(f"{path}: no table (blank lines between its rows); {fix}")
    return table


def csv_header(path: Path, fix: str) -> list[str]:
    """The columns of a table. Raises StudyError as `read_text`, and where there is none."""
    columns = next(csv.reader(io.StringIO(read_text(path, fix), newline="")), [])
    if not columns:
        raise StudyError(f"{path}: no table (empty); {fix}")
    return columns


def csv_lines(text: str, path: Path, fix: str) -> list[int]:
    """By row, the header's first, the line it ends in: a cell may hold line ends. Raises StudyError as `read_csv`."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines, width = [], 0
    try:
        for row in rows:
            if not lines and len(set(row)) < len(row):
                raise StudyError(f"{path}: no table (a column stands twice in line 1); {fix}")
            width = width or len(row)
            if len(row) != width:
                raise StudyError(
                    f"{path}: no table (line {rows.line_num} has {len(row)} cells, the first {width}); {fix}"
                )
            lines.append(rows.line_num)
    except csv.Error as error:
        raise StudyError(f"{path}: no table (line {rows.line_num}: {error}); {fix}") from None
    if not text.endswith("\n"):  # every writer ends its last line; without that a number may have lost digits
        raise StudyError(f"{path}: no table ({f'line {lines[-1]} was cut' if lines else 'empty'}); {fix}")
    return lines


def _shown(value: object) -> str:
    """What stands where something else should: null, a number, an empty text."""
    if isinstance(value, str):
        return "a text" if value.strip() else "blank"
    kinds = {list: "a list", dict: "an object", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
