"""Functions of installed packages under permissive licences: signature and docstring are given, the body is asked.

Code is read, never run: `ast` of the installed files. Versions are pinned in pyproject.toml (a test) and noted beside
the sets, so the items are too.
"""

import ast
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from solid_utils.core.errors import StudyError
from solid_utils.data.offline.near import without_near_duplicates
from solid_utils.data.prompts import alpaca_item
from solid_utils.settings.domain_params import Functions

# Names as SPDX has them, and as classifiers of packages do.
PERMISSIVE = {"MIT", "BSD", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "0BSD", "ISC", "APACHE-2.0", "ZLIB", "CC0-1.0"}
CLASSIFIERS = {"MIT License", "BSD License", "Apache Software License", "ISC License (ISCL)"}
LEFT_OUT = {"tests", "test", "testing", "conftest", "_vendor", "externals", "vendor"}  # folders and files
INSTRUCTION = "Write the body of this Python function."
IDLE = (ast.Pass, ast.Raise)


def licence(package: str) -> str:
    """The licence that a package's metadata name. Raises StudyError where it is missing or not permissive."""
    try:
        said = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        raise StudyError(
            f"configs/domains.yaml: packages: {package} is not installed; run `pip install -e .`"
        ) from None
    classifiers = [
        one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or [] if one.startswith("License ::")
    ]
    expression = said.get("License-Expression")
    if expression:
        parts = re.split(r"\s+(?:AND|OR)\s+", expression.upper())
        permissive = all(part.strip("() ") in PERMISSIVE for part in parts)
    else:
        permissive = bool(classifiers) and set(classifiers) <= CLASSIFIERS
    if not permissive:
        named = expression or ", ".join(classifiers) or "none"
        raise StudyError(
            f"configs/domains.yaml: packages: {package}: licence '{named}' is not permissive; leave it out"
        )
    return expression or ", ".join(classifiers)


def sources(package: str) -> list[Path]:
    """The package's own Python files, without its tests, in the order of their names."""
    listed = [Path(str(one)) for one in metadata.files(package) or [] if str(one).endswith(".py")]
    chosen = [one for one in listed if not LEFT_OUT & {*one.parts, one.stem} and not one.stem.startswith("test")]
    return [Path(str(metadata.distribution(package).locate_file(one))) for one in sorted(chosen)]


def functions(source: str, characters: int) -> Iterator[tuple[str, str, str]]:
    """(signature, first paragraph of the docstring, body) of a file's documented functions with short bodies.

    All three as ast prints them, so that comments and layout do not count.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or not (said := ast.get_docstring(node)):
            continue
        statements, told = node.body[1:], said.split("\n\n")[0]
        if not statements or all(isinstance(one, IDLE) for one in statements):
            continue
        body = "\n".join(ast.unparse(one) for one in statements)
        if body.strip() not in ("", "...") and len(body) <= characters and len(told) <= characters:
            yield signature(node), told, body


def signature(node: ast.FunctionDef) -> str:
    """The line `def ...:` without decorators."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}:"


def package_items(package: str, characters: int) -> list[dict]:
    """A package's functions as items, in the order of its files. Raises StudyError as `licence` does."""
    licence(package)
    found = []
    for path in sources(package):
        text = path.read_text(encoding="utf8", errors="replace")
        for line, told, body in functions(text, characters):
            given = f'{line}\n    """{told}"""'
            row = {"instruction": INSTRUCTION, "input": given, "output": body}
            found.append(alpaca_item(row) | {"source": package})
    return found


def items(wanted: Functions) -> tuple[list[dict], list[dict]]:
    """Items of `packages`, and of those `apart`, whose source ends in `-apart`; no near-duplicate within or across."""
    apart = [item for package in wanted.apart for item in package_items(package, wanted.characters)]
    own = [item for package in wanted.packages for item in package_items(package, wanted.characters)]
    names = set(wanted.apart)
    kept = without_near_duplicates([*apart, *own])  # apart first: what both have is a test item
    tested = [item | {"source": f"{item['source']}-apart"} for item in kept if item["source"] in names]
    return [item for item in kept if item["source"] not in names], tested
