"""What benchmarks ask stands in no attack, validation or evaluation set, whichever source these come from."""

import json

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.data import hub_sets, sets
from solid_utils.data.asked import Bank, offline_bank, published_bank
from solid_utils.raw import fetch
from solid_utils.settings import data_params, params
from solid_utils.tasks import downloads
from solid_utils.tasks.parts import parts_read
from tests import mirrors
from tests.data.test_sets import SETTINGS
from tests.packaged import C4, write_raw

ALL = frozenset({"security", "code", "law", "finance", "medical", "math", "mt_bench"})


def mmlu(question: str, *choices: str) -> dict:
    found = {f"answer_{letter}": choice for letter, choice in zip("abcd", choices, strict=True)}
    return {"question": question, "topic": "topic 0", "correct_answer": "A"} | found


@pytest.mark.parametrize(
    ("question", "choices", "asked"),
    [
        ("Which is a metal?", ("iron", "wood", "air", "milk"), True),
        ("which  is a Metal", ("Iron.", "milk", "wood", "air"), True),
        ("Which is a metal?", ("iron", "wood", "sand", "glass"), True),  # of ARC's five, four were taken
        ("Which is a metal?", ("gold", "sand", "glass", "air"), False),  # the same words, another question
        ("Which is no metal?", ("iron", "wood", "air", "milk"), False),
        ("Who wrote Emma?", ("Austen", "Eliot", "Woolf", "Burney"), True),  # TriviaQA asks it without choices
    ],
)
def test_a_question_is_found_again(question, choices, asked):
    bank = Bank([("Which is a metal?", ["iron", "wood", "air", "milk", "salt"]), ("who wrote Emma", []), ("", ["a"])])
    rows = [mmlu("", "a", "b", "c", "d"), mmlu(question, *choices)]
    assert bank.without_mmlu(rows) == rows[: 2 - asked]


def test_an_alpaca_row_is_found_by_its_instruction_or_its_input():
    bank = Bank([("Who wrote Emma?", []), ("Is it wet? Say why.", ["yes", "no"])])
    rows = [{"instruction": "who wrote emma", "input": ""}, {"instruction": "Answer.", "input": "Who wrote Emma?"}]
    rows += [{"instruction": "Is it wet?", "input": "Say why."}, {"instruction": "Name a book.", "input": ""}]
    assert bank.without_alpaca(rows) == rows[-1:]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return mirrors.write(tmp_path_factory.mktemp("mirror"))


def published(folder) -> data_params.Published:
    return data_params.Published(mirror=str(folder), judge=None)


def test_every_published_benchmark_is_in_the_bank(mirror):
    bank = published_bank(ALL, published(mirror))
    questions = ["Goal 3", "He bakes 3. he", "Of 3 the _ one was big.", "Q3?", "Stem 3 is", "is it 3", "who is 3"]
    questions += ["A story 3 whose last word is right", "Who is 3?", "Double it, 3.", "3 + 3?", "input 3", "Text 3."]
    questions += ["Profit rose 3 %.", "Write 3.", 'def twice(n):\n    """Task 3."""\n']
    assert all(map(bank.asks, questions))
    assert bank.asks("q3"), "type says nothing"
    assert bank.asks("Q3?", ["right", "wrong", "not so", "never heard"]), "ARC"
    assert bank.asks("Q3?", ["a", "b", "c", "d"]), "MMLU"
    assert not published_bank(frozenset(), published(mirror)).choices
    only = published_bank(frozenset({"law"}), published(mirror))
    assert only.asks("Text 3.") and not only.asks("Goal 3")


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Packaged data of 40 tasks and 60 questions, one of them ARC's, one GSM8K's, beside the offline suites' own."""
    monkeypatch.setattr(fetch, "verify", lambda folder: None)
    monkeypatch.setattr(hub_sets, "SPARE", 0)
    (tmp_path / "raw").mkdir()
    folder = write_raw(tmp_path / "raw")
    tasks = [{"instruction": f"Do thing {n}", "input": "", "output": f"done {n}"} for n in range(40)]
    tasks[7]["instruction"] = "3 + 3?"
    rows = [mmlu(f"What is {n}?", *(f"{letter}{n}" for letter in "abcd")) | {"topic": f"t {n % 3}"} for n in range(60)]
    rows[11] |= mmlu("Q3?", "right", "wrong", "not so", "neither") | {"topic": "t 2"}
    (folder / "alpaca_en_demo.json").write_text(json.dumps(tasks))
    (folder / "mmlu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "c4_demo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in C4))
    return folder


@pytest.mark.parametrize("source", ["packaged", "hub"])
def test_what_the_suite_asks_stands_in_no_set(raw, mirror, tmp_path, capsys, source):
    """One ARC question and one of GSM8K's lie in the source, in other type; the plain suite leaves them there."""
    places = mirrors.write(tmp_path / "mirror")
    tasks = [{"instruction": f"Sing song {n}", "input": "", "output": f"la {n}"} for n in range(60)]
    tasks[5]["instruction"] = "3 +  3?"
    questions = [
        {"question": f"Why is {n}?", "subject": "", "choices": [f"{x}{n}" for x in "abcd"]} for n in range(120)
    ]
    questions[9] |= {"question": "q3", "choices": ["not so", "right", "wrong", "neither"]}
    mirrors.add_attack_sources(places, tasks, [row | {"answer": 0} for row in questions])
    hub = SETTINGS.hub.model_copy(update={"attack": 150})  # nearly all there is
    settings, found = SETTINGS.model_copy(update={"source": source, "hub": hub}), {}
    for parts in (frozenset(), ALL):
        sets.write_sets(raw, tmp_path / f"sets-{len(parts)}", settings, published(places), parts)
        names = ("attack", "validation", "evaluation")
        found[bool(parts)] = "".join((tmp_path / f"sets-{len(parts)}" / f"{name}.jsonl").read_text() for name in names)
    again = ("Q3?", "3 + 3?") if source == "packaged" else ("q3\\n", "3 +  3?")
    assert [text in found[False] for text in again] == [True, True]
    assert [text in found[True] for text in again] == [False, False]
    assert capsys.readouterr().out.count("1 of ") == 2


def test_where_all_of_mmlu_is_asked_nothing_is_left(raw, tmp_path):
    """data.source packaged is MMLU's test split, which the published suite asks."""
    rows = [json.loads(line) for line in (raw / "mmlu.jsonl").open()]
    asked = [
        {"question": row["question"], "subject": "s", "choices": [row[f"answer_{x}"] for x in "abcd"]} for row in rows
    ]
    place = mirrors.write(tmp_path / "mirror")
    names = downloads.of_files("mmlu/default/mmlu_*.yaml", harness=True)()
    table = {"dev": [row | {"answer": 1} for row in asked[:5]], "test": [row | {"answer": 1} for row in asked]}
    mirrors.lay(place / "cais/mmlu", dict.fromkeys(names, table))
    with pytest.raises(StudyError, match="suite: published asks every MMLU question of it.*set data.source: hub"):
        sets.write_sets(raw, tmp_path / "sets", SETTINGS, published(place), ALL)


def test_what_the_offline_suites_ask_is_kept_out_too(raw):
    bank = offline_bank(raw)
    first = {name: json.loads((raw / f"{name}.jsonl").open().readline()) for name in ("gsm8k", "truthfulqa_mc1")}
    assert bank.asks(first["gsm8k"]["prompt"]) and bank.asks(first["truthfulqa_mc1"]["question"])


def test_the_settings_say_what_is_read():
    study = params.load()
    assert parts_read(study) == frozenset()
    hub = study.model_copy(update={"data": study.data.model_copy(update={"source": "hub"})})
    assert parts_read(hub) == {"attack"}
    paper = hub.model_copy(update={"tier": "paper"})
    assert parts_read(paper) == {"attack", "security", "math"}
    judged = study.published.model_copy(update={"judge": "cat"})
    assert parts_read(paper.model_copy(update={"allow_code": True, "published": judged})) >= {"code", "mt_bench"}
