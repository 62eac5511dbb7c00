"""Cells that hang on no run: a notebook that is executed for many runs works them in one.

They carry the tag `once` and are worked where `run` is the one that the notebook names itself, so a person who opens it
meets them all. No other cell may need what they leave behind; the runs without them would fail.
"""

import ast
import copy

from nbformat import NotebookNode

from solid_utils.core.errors import StudyError

TAG = "once"
NOTE = "*Cells that are worked once, not for every run, stand in the executed notebook of `{}`.*"


def own_value(notebook: NotebookNode, name: str) -> str | None:
    """What the cell of parameters sets `name` to; None where it does not. Raises StudyError where that is no text."""
    for cell in notebook.cells:
        if "parameters" not in cell.metadata.get("tags", []):
            continue
        for line in ast.parse(cell.source).body:
            if isinstance(line, ast.Assign) and [getattr(target, "id", "") for target in line.targets] == [name]:
                if isinstance(line.value, ast.Constant) and isinstance(line.value.value, str):
                    return line.value.value
                raise StudyError(f"notebook: parameter {name} is no text in quotes; write it so")
    return None


def for_run(notebook: NotebookNode, values: dict[str, str]) -> NotebookNode:
    """The notebook for these parameters: whole for its own run, else a line in place of each row of `once` cells."""
    own = own_value(notebook, "run")
    if own is None or values.get("run", own) == own:
        return notebook
    left = copy.deepcopy(notebook)
    left.cells = []
    dropping = False
    for cell in notebook.cells:
        once = TAG in cell.metadata.get("tags", [])
        if once and not dropping:
            left.cells.append(_note(cell, own))
        elif not once:
            left.cells.append(cell)
        dropping = once
    return left


def _note(cell: NotebookNode, own: str) -> NotebookNode:
    """The line that stands for the cells from this one on."""
    note = {"cell_type": "markdown", "metadata": {}, "source": NOTE.format(own)}
    return NotebookNode(note | ({"id": cell.id} if "id" in cell else {}))
