"""Notebook 00 asserts each number of the theorem: it runs as it stands, and stops at a step whose number is another."""

import json
from pathlib import Path

import matplotlib
import pytest

from solid_utils.theory import counterexamples, lemmas, stack, transition

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00_theory.ipynb"
REAL = "## What real layers do"  # from here on a model is needed
SURVEY = lemmas.survey


@pytest.fixture(scope="module")
def surveys() -> dict:
    """Of every norm, once: most of the notebook's seconds."""
    return {norm: SURVEY(norm, 2000, 0) for norm in (1, 2, 4, 8, 16)}


@pytest.fixture(autouse=True)
def known(surveys, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.setattr(lemmas, "survey", lambda norm, _draws, _seed: dict(surveys[norm]))


def run() -> dict:
    """The notebook's names after its cells above the real layers."""
    names: dict = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and source.startswith(REAL):
            return names
        if cell["cell_type"] == "code":
            exec(source, names)
    raise LookupError(f"no cell {REAL}")


def test_the_notebook_keeps_a_number_of_every_step():
    assert {row["step"] for row in run()["steps"]} == {str(step) for step in range(1, 10)}


def other(quantity):
    """The survey with one quantity of D = 16 a fifth off."""
    return lambda found: lambda norm, *_: found[norm] | ({quantity: 1.2 * found[norm][quantity]} if norm == 16 else {})


def factor(function, by):
    """The function, its outcome times a factor."""
    return lambda *given: by * function(*given)


@pytest.mark.parametrize("quantity", ["columns_off", "largest_gain", "largest_tau"])
def test_steps_1_and_2_stop_at_another_law(quantity, surveys, monkeypatch):
    monkeypatch.setattr(lemmas, "survey", other(quantity)(surveys))
    with pytest.raises(AssertionError):
        run()


@pytest.mark.parametrize(
    ("room", "name", "wrong"),
    [
        (transition, "log2_bound_everywhere", lambda _beta: 0.1),
        (transition, "log2_bound", lambda _beta, _alpha: -0.1),
        (transition, "collapse_by_alpha", lambda *_: [0.1]),
        (transition, "sums_from_zero", lambda *_: [0.1]),
        (stack, "last_ratio", factor(stack.last_ratio, 4)),
        (counterexamples, "symmetric_depths", lambda *_: counterexamples.symmetric_pair() @ [[1, 0], [0, 0]]),
        (counterexamples, "solver_of_lemma_one", lambda stream, *_: stream.standard_normal((8, 8))),
        (counterexamples, "near_theft", lambda _stream, matrix, *_: matrix[::-1]),
        (stack, "harm_bound", lambda *_: [0.0] * 60),
        (stack, "harm_by_place", lambda *_: [1e-3] * 60),
    ],
)
def test_steps_3_to_9_stop_at_another_number(room, name, wrong, monkeypatch):
    monkeypatch.setattr(room, name, wrong)
    with pytest.raises(AssertionError):
        run()
