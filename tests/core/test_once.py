"""Cells of no run are worked in one run of a notebook, and left out of the others with a line that says where."""

import ast
from pathlib import Path

import nbformat
import pytest

from solid_utils.core import once, rooms
from solid_utils.core.errors import StudyError


def notebook(parameters='run = "own"\nmodel = "m"'):
    """Parameters, a cell, three `once` ones in two rows, a cell."""
    cells = [nbformat.v4.new_code_cell(parameters), nbformat.v4.new_code_cell("a")]
    cells += [nbformat.v4.new_markdown_cell("once 1"), nbformat.v4.new_code_cell("once 2")]
    cells += [nbformat.v4.new_code_cell("b"), nbformat.v4.new_code_cell("once 3")]
    cells[0].metadata["tags"] = ["parameters"]
    for number in (2, 3, 5):
        cells[number].metadata["tags"] = [once.TAG]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize("values", [{}, {"model": "other"}, {"run": "own"}])
def test_its_own_run_works_every_cell(values):
    whole = notebook()
    assert once.for_run(whole, values) is whole


def test_another_run_leaves_each_row_of_them_out_in_a_line():
    whole = notebook()
    left = once.for_run(whole, {"run": "other"})
    note = once.NOTE.format("own")
    assert [cell.source for cell in left.cells][1:] == ["a", note, "b", note]
    assert [cell.id for cell in left.cells] == [whole.cells[number].id for number in (0, 1, 2, 4, 5)]
    assert len(whole.cells) == 6, "the notebook itself changed"
    nbformat.validate(left)


def test_a_notebook_without_runs_is_whole():
    assert len(once.for_run(notebook('model = "m"'), {"model": "other"}).cells) == 6


def test_a_parameter_that_is_no_text_is_one_line():
    with pytest.raises(StudyError, match="parameter run is no text in quotes; write it so"):
        once.for_run(notebook("run = 1"), {"run": "other"})


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def code(path, once_cells: bool) -> list[ast.Module]:
    """The parsed code cells of a shipped notebook, those with the tag or the others."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [ast.parse(cell.source) for cell in cells if (once.TAG in cell.metadata.get("tags", [])) == once_cells]


def bound(cell: ast.Module) -> set[str]:
    """Names that a cell defines, imports or assigns, anywhere in it."""
    nodes = list(ast.walk(cell))
    found = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imports = [one for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for one in node.names]
    return found | {one.asname or one.name.partition(".")[0] for one in imports}


def read(cell: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(cell) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_other_cell_needs_what_a_once_cell_leaves_behind(path):
    others = code(path, once_cells=False)
    left_out = set().union(*map(bound, code(path, once_cells=True))).difference(*map(bound, others))
    assert not left_out & set().union(*map(read, others))


def test_by_hand_means_without_the_engine():
    """In notebook 03 one cell an attack names what comes from the room `attacks`, and it asserts."""
    path = next(path for path in NOTEBOOKS if path.stem.startswith("03_"))
    cells = code(path, once_cells=True)
    engine = {"AttackRun", "launch", "engines_first_loss"}  # and what a cell imports itself
    compared = [cell for cell in cells if read(cell) & engine or "attacks" in rooms.imported(ast.unparse(cell))]
    assert len(compared) == 3 and len(cells) > 12
    for cell in compared:
        assert any(isinstance(node, ast.Assert) for node in ast.walk(cell))
