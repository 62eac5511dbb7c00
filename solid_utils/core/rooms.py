"""The rooms of this package, and which of them a room stands on, read off the imports themselves.

A stage of dvc.yaml and the state of half-done work depend on whole rooms: `closure` says which.
"""

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# From the ground up: a room imports only rooms that stand before it (tests/core/test_rooms.py).
ROOMS = (
    *("core", "checks", "settings", "paper", "tasks", "metrics", "model", "raw", "data", "deployment", "evaluation"),
    *("theory", "difficulty", "training", "attacks", "customization", "runtime", "report", "recommend", "grid"),
    *("doctor", "course"),
)


@functools.cache  # the same sources are asked for at every State
def imported(source: str) -> frozenset[str]:
    """Rooms that a piece of code imports, wherever the import stands."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in modules]
    return frozenset(part[1] for part in parts if part[0] == PACKAGE.name and part[1:] and part[1] in ROOMS)


def closure(rooms: Iterable[str]) -> list[str]:
    """These rooms and all that they stand on, in the order of ROOMS."""
    seen, queue = set(), set(rooms)
    while queue:
        room = queue.pop()
        seen.add(room)
        for path in files([room]):
            if path.suffix == ".py":
                queue |= imported(path.read_text(encoding="utf8")) - seen
    return [room for room in ROOMS if room in seen]


def files(rooms: Iterable[str]) -> list[Path]:
    """Every file of these rooms that is part of the package."""
    found = [path for room in rooms for path in sorted((PACKAGE / room).rglob("*")) if path.is_file()]
    return [path for path in found if "__pycache__" not in path.parts]
