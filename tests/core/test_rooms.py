"""One import rule: a room imports only rooms that stand before it, wherever the import is written."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from solid_utils.core.rooms import PACKAGE, ROOMS, closure, files, imported

LONGEST = 300  # lines of a file
SOURCES = sorted(PACKAGE.rglob("*.py"))
BY_NAME = {"import_module", "__import__", "run_module", "find_spec"}  # calls that import what a text names


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def reached(path: Path, source: str) -> set[str]:
    """Rooms that a file reaches by any import: absolute, relative, in functions, or by a name given as text."""
    found, package = set(), ["solid_utils", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            found |= {text for text in texts if called in BY_NAME and isinstance(text, str)}
    parts = [name.split(".") for name in found]
    return {part[1] for part in parts if part[0] == "solid_utils" and len(part) > 1}


def test_the_package_holds_rooms_and_nothing_else():
    there = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert there == {"__init__.py", *ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room):
    before = set(ROOMS[: ROOMS.index(room) + 1])
    for path in SOURCES:
        if room_of(path) == room:
            assert reached(path, path.read_text()) <= before, path


@pytest.mark.parametrize(
    "source",
    [
        "import solid_utils.report.tables",
        "from solid_utils import report",
        "from solid_utils.report import tables",
        "from ..report import tables",
        "from .. import report",
        "def f():\n    from solid_utils.report.tables import make",
        "import importlib\nimportlib.import_module('solid_utils.report.tables')",
    ],
)
def test_the_rule_sees_every_way_to_import(source):
    assert "report" in reached(PACKAGE / "core" / "schema.py", source)


def test_the_closure_sees_every_import_that_the_package_writes():
    """`imported` knows absolute imports; no file uses another kind between rooms."""
    for path in SOURCES:
        assert reached(path, path.read_text()) <= {*imported(path.read_text()), room_of(path)}, path


def test_a_door_plate_says_in_out_and_public_names_that_exist():
    for room in ROOMS:
        plate = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
        said = re.fullmatch(r".+\n\nIn: .+\nOut: .+\nPublic: (.+)", plate, re.DOTALL)
        assert said, room
        for name in re.split(r",\s+", " ".join(said[1].split()).removesuffix(".")):
            module, _, attribute = name.partition(".")
            defined = top_level_names((PACKAGE / room / f"{module}.py").read_text())
            assert not attribute or attribute in defined, f"{room}: {name}"


def top_level_names(source: str) -> set[str]:
    found = set()
    for node in ast.parse(source).body:
        targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
        found |= {getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)}
    return found


def test_no_file_is_long():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_the_report_never_imports_torch():
    check = "import solid_utils.report.report, solid_utils.report.compare, solid_utils.report.figures, sys; "
    subprocess.run([sys.executable, "-c", check + "assert 'torch' not in sys.modules"], check=True, cwd=PACKAGE.parent)


def test_rooms_of_a_stage():
    assert closure(["model"]) == ["core", "settings", "model"]
    assert closure(["customization"])[-1] == "customization" and "attacks" not in closure(["customization"])
    assert all(path.exists() for path in files(ROOMS))


def test_tests_mirror_the_rooms():
    """tests/ROOM/test_MODULE.py; `pipeline` holds what concerns the whole."""
    folders = {path.parent.name for path in Path(__file__).parents[1].rglob("test_*.py")}
    assert folders <= {*ROOMS, "pipeline"}


PICKLES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch.distributed.checkpoint"}
NO_PICKLE = {"torch.distributed.checkpoint.state_dict"}  # moves tensors in memory, reads and writes no file


def unpickles(source: str) -> list[str]:
    """What in a file may load a pickle, which is code that runs: imports and calls."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if _of_pickles(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [name for name in names if node.module not in NO_PICKLE and _of_pickles(name)]
        elif isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {key.arg: ast.unparse(key.value) for key in node.keywords}
            if called == "torch.load" and given.get("weights_only") != "True":
                found.append(called)
            if called.endswith(("read_pickle", "to_pickle")) or given.get("allow_pickle", "False") != "False":
                found.append(called)
            if given.get("trust_remote_code", "False") != "False":
                found.append(f"{called}, remote code")
    return found


def _of_pickles(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in PICKLES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_of_the_package_loads_a_pickle(path):
    assert not unpickles(path.read_text())


def test_what_would_load_a_pickle_is_found():
    for bad in (
        "import pickle", "from pickle import loads", "import joblib", "torch.load(path)", "pd.read_pickle(path)",
        "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)", "f(trust_remote_code=True)",
        "from torch.distributed import checkpoint", "import torch.distributed.checkpoint as c",
    ):  # fmt: skip
        assert unpickles(bad), bad
    for good in ("torch.load(path, weights_only=True)", "np.load(path)", "import json"):
        assert not unpickles(good), good
