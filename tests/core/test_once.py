"""Cells of no run are worked in one run of a notebook, and left out of the others with a line that says where."""

import nbformat
import pytest

from solid_utils.core import once
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
