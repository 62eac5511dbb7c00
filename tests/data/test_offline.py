"""Domains from packages: disjoint sets by one seed, no near-duplicates, licences, nothing that a benchmark asks."""

import json
import math
import re
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import pytest
import reasoning_gym

from solid_utils.core.errors import StudyError
from solid_utils.data.asked import Bank
from solid_utils.data.items import read_lines
from solid_utils.data.offline import functions, near, offline, pairs, reasoning, subjects
from solid_utils.data.prompts import alpaca_item, mmlu_item
from solid_utils.settings import domain_params, params
from tests.packaged import mmlu_row

SIZES = {"train": 12, "validation": 3, "test": 6}
KINDS = {
    "sums": {"make": "chain_sum", "min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "divisors": {"make": "gcd", "max_value": 60},
}
REASONING = domain_params.Reasoning(source="reasoning", kinds=KINDS, **SIZES)
SOURCE = '''
def clipped(value: int, most: int = 3) -> int:
    """The value, or the most there may be.

    More words.
    """
    # a comment
    return min(value, most)

def idle():
    """Nothing."""
    raise NotImplementedError

def bare(x):
    return x

class Box:
    def width(self):
        """How wide."""
        return self._width
'''


def code(told: str, body: str, package: str = "one") -> dict:
    given = f'def f():\n    """{told}"""'
    row = {"instruction": functions.INSTRUCTION, "input": given, "output": body}
    return alpaca_item(row) | {"source": package}


def test_every_declared_domain_is_whole_and_of_a_known_source():
    declared = params.load().domains
    assert {"reasoning", "code", "medical", "law", "business", "alignment"} <= set(declared)
    assert declared["reasoning"].test >= 1000 and declared["law"].test >= 1000
    assert {"anatomy", "professional medicine"} == set(declared["medical"].tested)


def test_problems_are_reasoning_gyms_own_each_once_and_kinds_take_turns():
    made = reasoning.items(REASONING)
    assert [item["source"] for item in made[:4]] == ["sums", "divisors"] * 2
    assert len({item["prompt"] for item in made}) == len(made) >= sum(SIZES.values())
    shape = {key: value for key, value in KINDS["sums"].items() if key != "make"}
    theirs = {
        row["question"]: row["answer"] for row in reasoning_gym.create_dataset("chain_sum", seed=42, size=44, **shape)
    }
    for item in made[::2]:
        question = item["prompt"].partition("### Instruction:\n")[2].partition("\n\n### Response:")[0]
        assert theirs[question] == item["answer"]


def test_the_shipped_kinds_have_the_right_answers():
    """By Python's own arithmetic: of basic_arithmetic's every third answer was another number's."""
    kinds = params.load().domains["reasoning"].kinds
    solve = {
        "sums": lambda said: eval(said.partition("problem: ")[2].partition("=")[0]),
        "signs": lambda said: eval(said.partition("Calculate ")[2].rstrip(".")),
        "products": lambda said: eval(said.partition("multiplication: ")[2].partition(".")[0]),
        "divisors": lambda said: math.gcd(*map(int, re.findall(r"\d+", said))),
        "fractions": lambda said: Fraction(re.search(r"\d+/\d+", said)[0]),
    }
    for name, by_hand in solve.items():
        for item in reasoning.kind_items(name, kinds[name], 40, 42):
            question = item["prompt"].partition("### Instruction:\n")[2].partition("\n\n### Response:")[0]
            assert Fraction(item["answer"]) == by_hand(question), question


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ({"make": "chess"}, "refuses it"),
        ({"make": "chain_sum", "min_terms": 2, "max_terms": 2, "max_digits": 1}, "differ"),
    ],
)
def test_a_kind_that_cannot_be_made(kind, wrong):
    sizes = {name: 100 * size for name, size in SIZES.items()}
    with pytest.raises(StudyError, match=f"kinds.mine: .*{wrong}"):
        reasoning.items(domain_params.Reasoning(source="reasoning", kinds={"mine": kind}, **sizes))


def test_a_kind_that_falls_over_while_it_is_generated(monkeypatch):
    class Broken:
        def __iter__(self):
            raise ValueError("no such angle")

    monkeypatch.setattr(reasoning.reasoning_gym, "create_dataset", lambda *_, **__: Broken())
    with pytest.raises(StudyError, match=r"kinds.mine: reasoning-gym refuses it \(no such angle\)"):
        reasoning.kind_items("mine", {"make": "chain_sum"}, 3, 1)


def test_sets_are_disjoint_and_drawn_by_the_seed():
    items = reasoning.items(REASONING)
    sets = offline.split("mine", REASONING, items, [])
    prompts = [item["prompt"] for name in SIZES for item in sets[name]]
    assert [len(sets[name]) for name in SIZES] == list(SIZES.values())
    assert len(set(prompts)) == len(prompts)
    assert sets == offline.split("mine", REASONING, items, [])
    other = REASONING.model_copy(update={"seed": 7})
    assert offline.split("mine", other, items, [])["test"] != sets["test"]
    with pytest.raises(StudyError, match="domains.mine: 21 items asked, 20 there"):
        offline.split("mine", REASONING, items[:20], [])


def problem(question: str, answer: str) -> dict:
    return alpaca_item({"instruction": question, "input": "", "output": answer}) | {"source": "sums"}


def test_twins_of_an_earlier_set_are_left_out_and_counted(capsys):
    wanted = domain_params.Reasoning(source="reasoning", kinds=KINDS, train=2, validation=1, test=1)
    own = [problem(f"Calculate {said}.", str(eval(said))) for said in ("3 + 5", "9 - 1", "5 + 3", "1 - 9", "2 + 6")]
    sets = offline.split("mine", wanted, own, [])
    told = [item["prompt"].partition("Calculate ")[2].partition(".")[0] for name in SIZES for item in sets[name]]
    assert told == ["1 - 9", "2 + 6", "9 - 1", "3 + 5"], "train, validation, test: the same numbers, the other sign"
    assert "mine: 1 of 5 items left out, the same numbers in another order" in capsys.readouterr().out
    with pytest.raises(StudyError, match="domains.mine: too few items are left without twins"):
        offline.split("mine", wanted, own[:4], [])


def test_prompts_that_are_too_long_are_left_out():
    items = [code(f"own {n}" + "x" * (99 * (n % 2)), str(n)) for n in range(60)]
    most = len(items[0]["prompt"]) + 9
    wanted = domain_params.Pairs(source="pairs", prompt=most, **SIZES)
    assert (
        max(len(item["prompt"]) for part in offline.split("mine", wanted, items, []).values() for item in part) <= most
    )


def test_items_that_are_only_tested_are_half_of_the_test_set():
    wanted = domain_params.Pairs(source="pairs", **SIZES)
    own = [code(f"own {n}", str(n)) for n in range(30)]
    tested = [code(f"tested {n}", str(n)) for n in range(9)]
    sets = offline.split("mine", wanted, own, tested)
    held = {item["prompt"] for item in tested}
    assert len(sets["test"]) == 6 and sum(item["prompt"] in held for item in sets["test"]) == 3
    assert not any(item["prompt"] in held for name in ("train", "validation") for item in sets[name])


def test_functions_are_read_off_the_source():
    found = list(functions.functions(SOURCE, 60))
    assert found == [
        (
            "def clipped(value: int, most: int=3) -> int:",
            "The value, or the most there may be.",
            "return min(value, most)",
        ),
        ("def width(self):", "How wide.", "return self._width"),
    ]
    assert [line for line, *_ in functions.functions(SOURCE, 20)] == ["def width(self):"]
    assert list(functions.functions("def (", 60)) == []


def test_a_packages_licence_is_read_from_its_metadata():
    assert functions.licence("networkx") == "BSD-3-Clause"
    assert functions.licence("jinja2") == "BSD License"
    with pytest.raises(StudyError, match="matplotlib: licence .* is not permissive"):
        functions.licence("matplotlib")
    with pytest.raises(StudyError, match="no-such-package is not installed"):
        functions.licence("no-such-package")


def test_a_package_that_is_gone_makes_the_sets_old_and_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("solid_utils.core.paths.DOMAINS", tmp_path)
    wanted = domain_params.Functions(source="functions", packages=["no-such-package"], apart=["gone"], **SIZES)
    assert offline.versions(wanted) == {"no-such-package": "none", "gone": "none"} and offline.versions(REASONING) != {}
    for path in [*offline.sets_of("mine", wanted), offline.marked("mine")]:
        path.write_text("{}")
    assert not offline.there("mine", wanted)
    with pytest.raises(StudyError, match="packages: gone is not installed"):
        offline.write("mine", wanted)


def test_every_declared_package_is_permissive_and_pinned():
    wanted = params.load().domains["code"]
    pinned = Path("pyproject.toml").read_text(encoding="utf8")
    for package in (*wanted.packages, *wanted.apart):
        assert functions.licence(package)
        needed_by_torch = any(one.startswith(package) for one in metadata.requires("torch") or [])
        assert f'"{package}==' in pinned or needed_by_torch, package


def test_files_of_a_package_are_its_own_without_tests():
    paths = functions.sources("networkx")
    assert paths == sorted(paths) and all(path.exists() for path in paths[:5])
    assert not any("tests" in path.parts for path in paths)


def test_near_duplicates_go_and_the_first_stays():
    words = " ".join(f"w{n}" for n in range(30))
    first, changed = code(words, "return 1"), code(words.replace("w7", "other"), "return 1")
    different = code(" ".join(f"v{n}" for n in range(30)), "return 1")
    assert near.without_near_duplicates([first, changed, different]) == [first, different]


def test_functions_of_a_package_apart_are_test_items(monkeypatch):
    words = {"own": "alpha beta gamma delta epsilon zeta", "other": "one two three four five six"}
    made = {name: [code(said, f"return {n}", name) for n in range(2)] for name, said in words.items()}
    made["own"].append(code(words["other"], "return 0", "own"))  # both packages have it
    monkeypatch.setattr(functions, "package_items", lambda name, characters: made[name])
    wanted = domain_params.Functions(source="functions", packages=["own"], apart=["other"], **SIZES)
    own, tested = functions.items(wanted)
    assert {item["source"] for item in own} == {"own"} and {item["source"] for item in tested} == {"other-apart"}
    assert not {item["prompt"] for item in own} & {item["prompt"] for item in tested}


def test_subjects_ask_nothing_that_other_sets_hold(tmp_path):
    rows = [mmlu_row(n, "law") for n in range(6)] + [mmlu_row(n, "anatomy") for n in range(50, 53)]
    (tmp_path / "benchmarks").mkdir()
    question = {"question": rows[0]["question"], "examples": [{"question": rows[1]["question"]}]}
    (tmp_path / "benchmarks" / "mmlu_5shot.jsonl").write_text(json.dumps(question) + "\n")
    (tmp_path / "validation.jsonl").write_text(json.dumps(mmlu_item(rows[2], True)) + "\n")
    (tmp_path / "evaluation.jsonl").write_text(json.dumps(mmlu_item(rows[3], False)) + "\n")
    held = subjects.held_by(tmp_path, rows, read_lines)
    wanted = domain_params.Subjects(source="subjects", subjects=["law"], tested=["anatomy"], **SIZES)
    own, tested = subjects.items(wanted, rows, held)
    assert [item["answer"] for item in own] == ["B:b4", "B:b5"]
    assert own[0]["choices"] == ["A:a4", "B:b4", "C:c4", "D:d4"] and own[0]["source"] == "law"
    assert len(tested) == 3
    with pytest.raises(StudyError, match="no 'chess' in MMLU; choose of anatomy, law"):
        subjects.items(domain_params.Subjects(source="subjects", subjects=["chess"], **SIZES), rows, Bank())


def test_pairs_are_the_packaged_ones_each_prompt_once():
    row = {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hello?"}]}
    row |= {"chosen": {"from": "gpt", "value": "Hi"}, "rejected": {"from": "gpt", "value": "No"}}
    same = row | {"rejected": {"from": "gpt", "value": "Hi"}}
    (item,) = pairs.items([row, row, same])
    assert "Be kind.\n\nHello?" in item["prompt"] and (item["chosen"], item["rejected"]) == ("Hi", "No")
    with pytest.raises(StudyError, match="row 1: no pair"):
        pairs.items([{"chosen": {}}])
    with pytest.raises(StudyError, match="row 1: no pair"):
        pairs.items([row | {"chosen": {"value": 3}}])


def test_near_duplicate_pairs_are_one_and_counted(capsys):
    said = "Write me a letter to the town about the noise of the trams at night"
    asked = [said, f"{said}, please", "What is the capital of France, and who lives there in the summer?"]
    rows = [
        {
            "conversations": [{"from": "human", "value": one}],
            "chosen": {"value": "Dear all"},
            "rejected": {"value": "No"},
        }
        for one in asked
    ]
    kept = pairs.items(rows)
    assert [said in item["prompt"] for item in kept] == [True, False]
    assert "dpo_en_demo.json: 1 of 3 items left out, near-duplicates" in capsys.readouterr().out
