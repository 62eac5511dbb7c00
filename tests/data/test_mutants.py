"""Mutants of a solution: which there are, that they are other programs, and that nothing is run."""

import ast

import pytest

from solid_utils.data.mutants import mutants

PROMPT = 'def find(values, limit):\n    """Größte < limit and 2."""\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < b", ["a > b", "b < b", "a < a"]),
        ("return (a) <= (b - 9)", ["(a) <= (b - 8)", "(a) <= (b + 9)", "(a) >= (b - 9)"]),
        ("return a and not b or True", ["or not b or True", "and not b and True", "b or False"]),
        ("return 10 // 2", ["10 % 2", "11 // 2", "10 // 1", "10 // 3"]),  # 9 is shorter than 10
        ("a += 1; return 'a < 1'", ["a -= 1", "a += 0", "a += 2"]),
        ("return sum(b=0).a", ["b=1"]),
        ("return f'{a + 1}' + b", ["' - b"]),
        ("return a == 0 != b", ["a != 0 != b", "a == 0 == b", "a == 1"]),
    ],
)
def test_one_token_changes(line, expected):
    found = mutants("def find(a, b):\n", f"    {line}\n")
    for part in expected:
        assert len([text for text in found if part in text]) == 1, part
    assert not [text for text in found if "9" in text and "10" in line]
    assert f"    {line}\n" not in found


def test_a_variable_is_replaced_by_one_that_is_bound_before_and_as_long():
    solution = "    top = 0\n    for one in values:\n        top = max(top, one)\n    end = top\n    return end\n"
    replaced = {text for text in mutants(PROMPT, solution) if "top = 1" not in text}
    assert replaced == {
        solution.replace("max(top", "max(one"),
        solution.replace(", one)", ", top)"),
        solution.replace("end = top", "end = one"),
        solution.replace("return end", "return top"),
        solution.replace("return end", "return one"),
    }


def test_names_of_a_function_inside_stay_inside():
    solution = "    def one(x):\n        y = x\n        return y\n\n    z = one(limit)\n    return z\n"
    assert set(mutants(PROMPT, solution)) == {solution.replace("return y", "return x")}


def test_f_strings_stay():
    assert mutants(PROMPT, "    return f'{limit + 1}'\n") == []


def test_the_prompt_stays_and_every_mutant_is_another_program():
    loop = "    for v in values:\n        if best < v <= limit:\n            best = v * 1\n"
    solution = f"    best = -1\n{loop}    return best\n"
    found = mutants(PROMPT + "    assert limit > 0\n", solution)
    assert len(found) == len(set(found)) > 5
    trees = {ast.dump(ast.parse(PROMPT + text)) for text in [solution, *found]}
    assert len(trees) == len(found) + 1
    for text in found:
        compile(PROMPT + text, "mutant", "exec")
        assert len(text.splitlines()) == 5 and abs(len(text) - len(solution)) <= 1


def test_nothing_is_run(tmp_path):
    trap = tmp_path / "ran"
    prompt = f"import pathlib\npathlib.Path({str(trap)!r}).touch()\ndef find(a):\n"
    assert mutants(prompt, "    return a + 1\n")
    assert not trap.exists()
