"""Every likely mistake of every exercise gives its own line; answers that are none are one line too."""

import inspect
import math
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from solid_utils.checks import attacks, customization, deployment, scan, scoring, tables, theory, verdict
from solid_utils.core.errors import StudyError

ROOT = Path(__file__).parents[2]
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.py"))

BENCHMARKS = pd.DataFrame(
    [
        ["tiny", "a", "end", "one", True, 0.8, 0.20, 0.25, 0.5],
        ["tiny", "a", "end", "two", True, 0.9, 0.10, 0.10, 0.2],
        ["tiny", "a", "end", "star", False, 0.3, 0.30, 0.30, 0.5],
        ["tiny", "a", "start", "one", True, 0.8, 0.20, 0.25, 0.3],
        ["tiny", "a", "start", "two", True, 0.9, 0.10, 0.10, 0.1],
    ],
    columns=["model", "run", "state", "benchmark", "counts", "victim", "chance", "floor", "value"],
)


def ratio(*rows, floor=0):
    """Sum of (replica - floor) over sum of (victim - floor), of (victim, floor, replica)."""
    return sum(own - low for _, low, own in rows) / sum(theirs - low for theirs, low, _ in rows)


ONE, TWO, STAR = (0.8, 0.25, 0.5), (0.9, 0.10, 0.2), (0.3, 0.30, 0.5)
SECRET = {"a.weight": np.eye(3), "a.bias": np.ones(3)}
FILLED = {"a.weight": np.zeros((3, 3)), "a.bias": np.ones(3)}
SINGLES = {"layers 0": 9.0, "layers 1": 4.0, "layers 2": 3.0}


def limits(**said):
    names = ("tokens_session", "tokens_day", "sequences_session", "sequences_day")
    return SimpleNamespace(limits=SimpleNamespace(**(dict.fromkeys(names) | said)))


def rows_not_columns(weights):
    return 1 - sum(min(row) for row in weights)


def cumulative(values, floor, ceiling):
    return len([value for value in values if value >= 6])


WRONG = [
    (theory.tau, [rows_not_columns], "least weight of each row"),
    (theory.tau, [lambda s: sum(min(column) for column in s.T)], "what is left of 1"),
    (theory.tau, [lambda s: 1 - np.mean(np.min(s, axis=0))], "a mean over columns"),
    (theory.tau, [lambda s: s[9]], "ends in IndexError"),
    (theory.tau, [0.5], "a function is asked, not float"),
    (theory.values, [np.zeros((16, 16))], "next to nothing"),
    (theory.values, [np.eye(16)], "averages of rows are still added"),
    (theory.values, [-3 * np.eye(16)], "with the other sign"),
    (theory.values, [np.diag([-1.0] * 8 + [1.0] * 8)], "others still grow"),
    (theory.values, [np.eye(4)], r"maps 16 numbers .* not \(4, 4\)"),
    (theory.values, [np.full((16, 16), np.nan)], "no finite numbers"),
    (theory.values, ["V"], "V: numbers are asked"),
    (scoring.search, [lambda v, c, e: int(np.argmax(np.array(v) >= (1 - e) * c))], "not what the definition gives"),
    (scoring.search, [lambda v, c, e: ([*(x >= (1 - e) * c for x in v[:-1]), True]).index(True)], "counted from 0"),
    (
        scoring.search,
        [lambda v, c, e: 1 + [x >= (1 - e) * max(v) for x in v].index(True)],
        "not of the curve's largest value",
    ),
    (scoring.search, [lambda v, c, e: v.index(max(v)) + 1], "not the largest DD"),
    (scoring.search, [lambda v, c, e: 1 + [*(x >= e * c for x in v), True].index(True)], "not epsilon of it"),
    (scoring.search, [lambda v, c, e: min(len(v), 1 + [*(x >= c for x in v), True].index(True))], "is left out"),
    (scoring.known_head, ["below", 14.0, 10.8], "you forgot the head"),
    (scoring.known_head, ["above", 9.0, 10.8], "less sure than you thought"),
    (scoring.known_head, ["lower", 9.0, 10.8], 'say "above" or "below"'),
    (scan.transition, [lambda v, f, c: [*(x < c / 2 for x in v), True].index(True)], "half of the ceiling"),
    (scan.transition, [lambda v, f, c: [*(x < (c - f) / 2 for x in v), True].index(True)], "not added to the floor"),
    (scan.transition, [lambda v, f, c: 1 + [*(x < 6 for x in v), True].index(True)], "layers count from 0"),
    (scan.transition, [cumulative], "not how many are above"),
    (scan.pairs, [{"layers 0-1": 9.5}, SINGLES, 10.0], "no 'layers 1-2'; 3 layers have 2 pairs"),
    (scan.pairs, [{"layers 0-1": 9, "layers 1-2": 5, "layers 2-3": 3}, SINGLES, 10.0], "'layers 2-3' is no pair"),
    (scan.pairs, [{"layers 0-1": math.nan, "layers 1-2": 5}, SINGLES, 10.0], "left unfilled"),
    (scan.pairs, [{"layers 0-1": "x", "layers 1-2": 5}, SINGLES, 10.0], "DDs: numbers are asked"),
    (scan.pairs, [[9.0, 4.0], SINGLES, 10.0], "a DD for each pair, as a dict, is asked, not list"),
    (scan.pairs, [{"layers 0-1": 9.0, "layers 1-2": 4.0}, SINGLES, 10.0], "DDs of single layers"),
    (scan.pairs, [{"layers 0-1": 4.0, "layers 1-2": 3.0}, SINGLES, 10.0], "DDs of single layers"),
    (scan.pairs, [{"layers 0-1": 13.0, "layers 1-2": 7.0}, SINGLES, 10.0], "sums of two single DDs"),
    (attacks.queries, [240, 264, 240, 24, 480], "validated on is asked as well"),
    (attacks.queries, [480, 264, 240, 24, 480], "not asked again$|not asked again;"),
    (attacks.queries, [504, 264, 240, 24, 480], "not asked again, and"),
    (attacks.queries, [24, 264, 240, 24, 480], "validated on alone"),
    (attacks.queries, [424, 400, 400, 24, 1600], "validates on none"),
    (attacks.queries, ["many", 264, 240, 24, 480], "a number is asked, not str"),
    (attacks.queries, [math.inf, 264, 240, 24, 480], "no finite number"),
    (attacks.queries, [263, 264, 240, 24, 480], "263 is less than it is"),
    (attacks.start, [{"a.weight": np.zeros((3, 3))}, SECRET], "no a.bias"),
    (attacks.start, [FILLED | {"b.weight": np.ones(2)}, SECRET], "b.weight is open"),
    (attacks.start, [FILLED | {"a.bias": np.full(3, np.nan)}, SECRET], "still not a number"),
    (attacks.start, [SECRET, SECRET], "the victim's own"),
    (attacks.start, [FILLED | {"a.weight": "abc"}, SECRET], "a.weight: numbers are asked"),
    (attacks.start, [5, SECRET], "a tensor for each secret name, as a dict, is asked, not int"),
    (attacks.start, [FILLED | {"a.weight": np.zeros(3)}, SECRET], r"is \(3,\), the architecture says \(3, 3\)"),
    (customization.reached, [lambda o, d: [n in o for n in range(d)]], "passes through secret layers above"),
    (customization.reached, [lambda o, d: [True for _ in range(d)]], "below the lowest open layer"),
    (customization.reached, [lambda o, d: [n >= min(o or {0}) for n in range(d)]], "everything secret: nothing"),
    (customization.reached, [lambda o, d: [min(o or {d}) <= n <= max(o or {0}) for n in range(d)]], "between two open"),
    (customization.items, [400], "a difference has the errors of both"),
    (customization.items, [200], "asked, not one$|asked, not one;"),
    (customization.items, [100], "not one, and"),
    (customization.items, [29], "root of the number"),
    (tables.corrected, [ratio(ONE, TWO, STAR), BENCHMARKS, "tiny", "a"], "with a star"),
    (tables.corrected, [ratio((0.8, 0.25, 0.3), (0.9, 0.1, 0.1)), BENCHMARKS, "tiny", "a"], "ratio of the start"),
    (tables.corrected, [0.7 / 1.7, BENCHMARKS, "tiny", "a"], "floor was not taken away"),
    (tables.corrected, [(0.25 / 0.55 + 0.1 / 0.8) / 2, BENCHMARKS, "tiny", "a"], "mean of ratios"),
    (tables.corrected, [0.4 / 1.4, BENCHMARKS, "tiny", "a"], "chance was taken away"),
    (tables.corrected, [0.5, BENCHMARKS, "tiny", "b"], "no run 'b' of tiny"),
    (
        tables.turned,
        [{"x"}, {"a": "s"}, {"a": "c"}],
        r"no claim 'x'; the column `key` of study.tables\['claims'\] names them",
    ),
    (tables.turned, [set(), {"a": "s"}, {"a": "c"}], "'a' turned as well"),
    (tables.turned, [5, {"a": "s"}, {"a": "c"}], "names of claims are asked"),
    (tables.turned, ["b", {"a": "s", "b": "s"}, {"a": "s", "b": "s"}], "'b' did not turn"),
    (deployment.state_bytes, [32, 32, 4], "as many scalars as the model is wide"),
    (deployment.state_bytes, [256, 32, 4], "each way is asked"),
    (deployment.state_bytes, [1024, 32, 4], "those are bits"),
    (deployment.state_bytes, [64, 32, 4], "these weights are float32"),
    (deployment.policy, [limits(), [64] * 60], "nothing ends"),
    (deployment.policy, [limits(tokens_session=10), [64] * 60], "no customer gets an answer"),
    (deployment.policy, [limits(sequences_day=60), [64] * 60], "asks 3840 tokens in 60 texts, and passes"),
    (deployment.policy, [20, [64] * 60], "a Policy is asked"),
    (deployment.gradients, [((20, 0.5), (40, 0.6))], "compare at equal numbers"),
    (deployment.gradients, [((20, 50.0), (20, 60.0))], "not percent"),
    (deployment.gradients, [((20, 0.5), (20, 0.5))], "is the term with the gradients in the loss"),
    (deployment.gradients, [((20, "a"), (20, 0.5))], "two pairs of numbers are asked"),
]


@pytest.mark.parametrize("check, given, mistake", WRONG, ids=lambda one: getattr(one, "__name__", None))
def test_a_likely_mistake_is_named_in_one_line(check, given, mistake):
    with pytest.raises(StudyError, match=mistake) as error:
        check(*given)
    assert "\n" not in str(error.value) and str(error.value).startswith("exercise: ")


def test_each_mistake_of_an_exercise_has_a_line_of_its_own():
    for check in {one for one, *_ in WRONG}:
        said = []
        for _, given, _ in (one for one in WRONG if one[0] is check):
            with pytest.raises(StudyError) as error:
                check(*given)
            said.append(str(error.value))
        twice = 1 if check is scan.pairs else 0  # the upper and the lower layer of a pair alone
        assert len(said) - len(set(said)) == twice, check


CHECKS = {one: given[1:] for one, given, _ in reversed(WRONG)}  # each with what its notebook measured
ROOMS = (theory, scoring, scan, attacks, customization, tables, deployment)
OF_NO_TYPE = [5, -0.5, "text", "", {}, {"q": "b"}, {1: None}, [], [None], [[]], ["ab", "cd"], (), b"x", object(), len]
OF_NO_TYPE += [np.ones(2), np.array(["q"]), pd.DataFrame({"q": ["b"]}), SimpleNamespace(limits=5), 10**400, 1j]


def test_no_check_is_left_out():
    public = {one for room in ROOMS for one in vars(room).values() if getattr(one, "__module__", "") == room.__name__}
    assert {one for one in public if next(iter(inspect.signature(one).parameters)) == "answer"} == set(CHECKS)


@pytest.mark.parametrize("answer", OF_NO_TYPE, ids=lambda one: repr(one)[:20])
@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__)
def test_an_answer_of_another_type_is_one_line(check, answer):
    with pytest.raises(StudyError) as error:
        check(answer, *CHECKS[check])
    assert "\n" not in str(error.value) and str(error.value).startswith("exercise: ")


def test_no_answer_is_no_mistake():
    assert {check(None, *given[1:]) for check, given, _ in WRONG} == {verdict.OPEN}


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_runs_and_is_right(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(path))
    said = capsys.readouterr().out.splitlines()
    assert said and all(": right" in line or line.endswith(": True") for line in said), said


def test_every_notebook_has_solutions_and_every_check_is_used():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in SOLUTIONS] == [path.stem for path in notebooks]
    for path in notebooks:
        asked = re.findall(r"\*\*(?:Easy|Medium|Hard), (?:\d+ minutes|an hour)\.\*\*", path.read_text())
        assert asked and f"notebooks/solutions/{path.stem}.py" in path.read_text(), path
    for room in ROOMS:
        name = room.__name__.rpartition(".")[2]
        for check in {one.__name__ for one, *_ in WRONG if one.__module__ == room.__name__}:
            assert any(f"check.{check}(" in path.read_text() for path in notebooks), check
            assert any(f"{name}.{check}(" in path.read_text() for path in SOLUTIONS), check
