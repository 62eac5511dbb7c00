"""Sets are disjoint by item and drawn by one seed, on raw data in the packaged schema."""

import json
import re
from collections import Counter

import pytest

from solid_utils.core import files, paths
from solid_utils.core.errors import StudyError
from solid_utils.data import hub_sets, items, prompts, sets
from solid_utils.data.domains import DOMAINS
from solid_utils.model import sampling
from solid_utils.raw import fetch
from solid_utils.settings import data_params
from tests import mirrors
from tests.data.test_domains import CONFIGURATIONS, MAKERS, ROWS
from tests.packaged import C4, PROBLEMS, write_raw

SETTINGS = data_params.Data(
    source="packaged",
    seed=42,
    validation={"alpaca": 5, "mmlu": 5},
    evaluation={"alpaca": 7, "mmlu": 7},
    benchmark={"mmlu": 6, "mmlu_more": 3, "mmlu_examples": 2, "c4": 3},
    customization={"train": 30, "validation": 6, "test": 6},
    hub={
        "attack": 90,
        "validation": {"alpaca": 5, "mmlu": 4},
        "evaluation": {"alpaca": 5, "mmlu": 4},
        "characters": 600,
    },
)


@pytest.fixture
def raw(tmp_path):
    alpaca = [{"instruction": f"Do thing {n}", "input": "x" if n % 3 else "", "output": f"done {n}"} for n in range(40)]
    alpaca += [alpaca[0], {"instruction": "say nothing", "input": "", "output": " "}]
    (tmp_path / "alpaca_en_demo.json").write_text(json.dumps(alpaca))
    mmlu = [
        {"question": f"What is {n}?", "topic": f"topic {n % 3}", "correct_answer": "ABCD"[n % 4]}
        | {f"answer_{letter}": f"{letter}{n}" for letter in "abcd"}
        for n in range(60)
    ]
    header = mmlu[0] | {"question": "question", "correct_answer": "answer"}
    lines = [json.dumps(row) for row in [header, *mmlu, mmlu[3]]]
    (tmp_path / "mmlu.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_no_item_stands_in_two_sets(raw):
    split = sets.split(raw, SETTINGS)
    rows = [*split.pop("mmlu_benchmark"), *split.pop("mmlu_more")]
    examples = {example["question"] for row in rows for example in row["examples"]}
    questions = Counter(row["question"] for row in rows) + Counter(examples)
    assert (len(rows), len(examples), max(questions.values())) == (6 + 3 * 3, 3 * 2, 1)
    asked = Counter(item["prompt"] for items in split.values() for item in items)
    assert max(asked.values()) == 1
    assert not any(f"{question}\n" in prompt for prompt in asked for question in questions)
    counts = {name: len(items) for name, items in split.items()}
    assert counts == {"attack": 28 + 42 - 3 * 5, "validation": 10, "evaluation": 14}


def test_params_know_how_many_items_there_are(raw, monkeypatch):
    monkeypatch.setattr(data_params, "PACKAGED_ITEMS", 40 + 60)
    monkeypatch.setattr(data_params, "SUBJECTS", 3)
    for name in ("attack", "validation", "evaluation"):
        assert SETTINGS.holds(name) == len(sets.split(raw, SETTINGS)[name])


def test_worked_examples_are_of_the_questions_subject(raw):
    split = sets.split(raw, SETTINGS)
    for row in split["mmlu_benchmark"] + split["mmlu_more"]:
        assert [example["topic"] for example in row["examples"]] == [row["topic"]] * 2
    assert Counter(row["topic"] for row in split["mmlu_more"]) == {"topic 0": 3, "topic 1": 3, "topic 2": 3}


def test_holding_more_out_only_shortens_the_attack_set(raw):
    benchmark = SETTINGS.benchmark.model_copy(update={"mmlu_more": 1, "mmlu_examples": 1})
    fewer, more = sets.split(raw, SETTINGS.model_copy(update={"benchmark": benchmark})), sets.split(raw, SETTINGS)
    assert (fewer["validation"], fewer["evaluation"]) == (more["validation"], more["evaluation"])
    assert [item["prompt"] for item in fewer["attack"][:46]] == [item["prompt"] for item in more["attack"][:46]]
    assert len(fewer["attack"]) == len(more["attack"]) + 9


def test_a_subject_with_too_few_rows_gets_one_line(raw):
    greedy = SETTINGS.benchmark.model_copy(update={"mmlu_more": 12})
    with pytest.raises(StudyError, match="mmlu_more and mmlu_examples: 14 topic . rows asked, 1[0-4] left; ask for"):
        sets.split(raw, SETTINGS.model_copy(update={"benchmark": greedy}))


def test_header_rows_duplicates_and_empty_answers_are_dropped(raw):
    assert len(sets.read_mmlu(raw / "mmlu.jsonl")) == 60
    assert len(sets.read_alpaca(raw / "alpaca_en_demo.json")) == 40


@pytest.mark.parametrize(
    "change",
    [
        {"question": "what  is 7"},
        {"question": "What is 7 ?"},
        {"answer_b": "B7.", "answer_c": " c7"},
        {"answer_a": "d7", "answer_d": "a7", "correct_answer": "A"},
    ],
)
def test_a_question_asked_again_in_other_type_is_dropped(raw, change):
    rows = sets.read_mmlu(raw / "mmlu.jsonl")
    again = rows[7] | change
    assert again not in rows and prompts.distinct([*rows, again]) == rows
    with (raw / "mmlu.jsonl").open("a") as file:
        file.write(json.dumps(again) + "\n")
    split = sets.split(raw, SETTINGS)
    held = [*split.pop("mmlu_benchmark"), *split.pop("mmlu_more")]
    questions = [one["question"] for row in held for one in (row, *row["examples"])]
    asked = [item["prompt"] for items in split.values() for item in items]
    assert len({text for text in [*questions, *asked] if re.search(r"(?i)what +is +7\b", text)}) == 1


@pytest.mark.parametrize("change", [{"question": "What is -7?"}, {"question": "What is 7*?"}, {"answer_a": "+a7"}])
def test_signs_make_another_question(raw, change):
    rows = sets.read_mmlu(raw / "mmlu.jsonl")
    assert len(prompts.distinct([*rows, rows[7] | change])) == len(rows) + 1


def test_the_split_is_fixed_by_its_seed(raw):
    assert sets.split(raw, SETTINGS) == sets.split(raw, SETTINGS)
    other = sets.split(raw, SETTINGS.model_copy(update={"seed": 20}))
    assert other["evaluation"] != sets.split(raw, SETTINGS)["evaluation"]


def test_benchmark_questions_cover_the_subjects_evenly(raw):
    rows = sets.subjects_first(sets.read_mmlu(raw / "mmlu.jsonl"), 3)
    assert Counter(row["topic"] for row in rows[:6]) == {"topic 0": 2, "topic 1": 2, "topic 2": 2}


def test_too_many_items_asked(raw):
    greedy = SETTINGS.model_copy(update={"validation": data_params.Halves(alpaca=500, mmlu=5)})
    with pytest.raises(StudyError, match="data: 507 Alpaca items asked, 40 there; ask for fewer"):
        sets.split(raw, greedy)


def test_table_4_prompts():
    row = {"question": "2+2?", "correct_answer": "B"} | {
        f"answer_{letter}": str(n) for n, letter in enumerate("abcd", 3)
    }
    chosen = prompts.mmlu_item(row, with_choices=True)
    assert chosen["answer"] == "B:4" and "A:3\nB:4\nC:5\nD:6" in chosen["prompt"]
    assert chosen["prompt"].startswith("The following is a multiple choice question, paired with choices.")
    open_question = prompts.mmlu_item(row, with_choices=False)
    assert open_question["answer"] == "4" and "Choices" not in open_question["prompt"]
    with_input = prompts.alpaca_item({"instruction": "Add.", "input": "2 2", "output": "4"})
    assert "### Input:\n2 2" in with_input["prompt"] and "paired with an input" in with_input["prompt"]


def test_math_problems_are_fresh_disjoint_and_repeat():
    problems = sets.math_items(SETTINGS)
    asked = [item["prompt"] for items in problems.values() for item in items]
    assert len(set(asked)) == len(asked) == 42
    assert problems == sets.math_items(SETTINGS)
    assert Counter(item["source"] for item in problems["test"]) == {"chain_sum": 3, "gsm_symbolic": 3}


class Letters:
    """A tokenizer of one token a letter."""

    eos_token_id = 0

    def __call__(self, text, add_special_tokens=True):
        class Encoded:
            input_ids = [ord(letter) for letter in text]

        return Encoded


def test_prompts_that_leave_no_room_are_dropped_and_long_answers_cut(capsys):
    items = [
        {"id": "a", "source": "mmlu", "prompt": "xxxx", "answer": "yy"},
        {"id": "b", "source": "mmlu", "prompt": "xxxxxxxx", "answer": "y"},
        {"id": "c", "source": "mmlu", "prompt": "xx", "answer": "y" * 50},
    ]
    kept = sampling.samples("evaluation", Letters(), 8, 2, items)
    assert [(s["id"], s["answer_start"], len(s["input_ids"])) for s in kept] == [("a", 4, 7), ("c", 2, 8)]
    assert kept[0]["input_ids"][-1] == 0  # the end-of-sequence token belongs to the answer
    assert "1 of 3 prompts leave no room at 8 tokens" in capsys.readouterr().out
    with pytest.raises(StudyError, match="3 samples asked, 2 of 3 fit 8 tokens"):
        sampling.samples("evaluation", Letters(), 8, 3, items)


def test_every_second_pair_of_texts_begins_somewhere_inside(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SETS", tmp_path)
    monkeypatch.setattr(sampling.read_set, "__defaults__", (tmp_path,))
    text = "".join(chr(97 + number % 26) for number in range(60))
    files.write_lines(
        [{"id": str(n), "source": "alpaca", "prompt": text, "answer": ""} for n in range(40)], tmp_path / "attack.jsonl"
    )
    rows = sampling.texts("attack", Letters(), 10, 40)
    starts = [row["input_ids"][0] - 97 for row in rows]
    assert all(starts[n] == 0 for n in range(40) if n // 2 % 2 == 0)
    assert len({tuple(row["input_ids"]) for row in rows}) > 10
    assert rows == sampling.texts("attack", Letters(), 10, 40)
    assert all(5 <= len(row["input_ids"]) <= 10 for row in rows)
    with pytest.raises(StudyError, match="41 texts asked, 40 there"):
        sampling.texts("attack", Letters(), 10, 41)


def test_texts_apart_are_no_items_of_another_set(tmp_path, monkeypatch):
    documents = [{"text": f"document {number}" + " and more" * 9} for number in range(5)]
    found = items.apart_items(documents, PROBLEMS)
    choices = {row["task_id"] for row in items.code_choice_items(PROBLEMS)}
    left = [row["prompt"] + row["canonical_solution"] for row in PROBLEMS if row["task_id"] not in choices]
    assert left and [item["text"] for item in found["apart_code"]] == left
    monkeypatch.setattr(sampling.read_set, "__defaults__", (tmp_path,))
    for name, rows in found.items():
        files.write_lines(rows, tmp_path / f"{name}.jsonl")
    samples = sampling.apart(Letters(), 11, 3)
    assert list(samples) == ["c4", "code"]
    heads = [bytes(sample["input_ids"]).decode() for sample in samples["c4"]]
    assert heads == [f"document {number} " for number in (4, 3, 2)]
    assert {sample["answer_start"] for rows in samples.values() for sample in rows} == {1}
    assert len(samples["code"]) == len(left), "fewer than asked: all there are"


def test_where_attack_items_come_from_is_a_setting(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "verify", lambda folder: None)
    monkeypatch.setattr(hub_sets, "SPARE", 0)
    (write_raw(raw) / "c4_demo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in C4))
    tasks = [{"instruction": f"Sing song {n}", "input": "", "output": f"la {n}"} for n in range(60)]
    asked = [{"question": f"What is {n}?", "subject": "", "choices": [f"{x}{n}" for x in "abcd"]} for n in range(120)]
    mirror = mirrors.attack_sources(tmp_path / "mirror", tasks, [row | {"answer": 0} for row in asked])
    written = {}
    for source in ("packaged", "hub"):
        settings = SETTINGS.model_copy(update={"source": source})
        published = data_params.Published(mirror=str(mirror), judge=None)
        sets.write_sets(raw, tmp_path / source, settings, published)
        files = (path for path in (tmp_path / source).rglob("*") if path.is_file())
        written[source] = {str(path.relative_to(tmp_path / source)): path.read_text() for path in files}
    assert written["packaged"].keys() == written["hub"].keys()
    differ = {name for name, text in written["hub"].items() if text != written["packaged"][name]}
    assert differ == {"attack.jsonl", "validation.jsonl", "evaluation.jsonl"}
    assert [written["hub"][name].count("\n") for name in sorted(differ)] == [90, 9, 9]
    held = re.findall(r'"question": "(What is \d+\?)', written["hub"]["benchmarks/mmlu_5shot.jsonl"])
    assert held and not any(question in written["hub"][name] for question in held for name in differ)


def test_every_domain_of_the_paper_is_written_with_the_other_sets(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "verify", lambda folder: None)
    (write_raw(raw) / "c4_demo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in C4))
    for repo, make in MAKERS.items():
        split = next(one.split for sources in DOMAINS.values() for one in sources if one.repo == repo)
        rows = [make(number) for number in range(ROWS)]
        mirrors.lay(tmp_path / "mirror" / repo, {name: {split: rows} for name in CONFIGURATIONS.get(repo, ["default"])})
    sizes = {"train": 5, "validation": 2, "test": 2, "hub": list(DOMAINS)}
    settings = SETTINGS.model_copy(update={"customization": data_params.CustomizationSets(**sizes)})
    published = data_params.Published(mirror=str(tmp_path / "mirror"), judge=None)
    sets.write_sets(raw, tmp_path / "sets", settings, published)
    for domain in DOMAINS:
        for part, size in (("train", 5), ("validation", 2), ("test", 2)):
            assert len(sampling.read_set(f"{domain}_{part}", tmp_path / "sets")) == size, domain


def test_a_missing_set(tmp_path):
    with pytest.raises(StudyError, match="run `dvc repro sets`"):
        sampling.read_set("attack", tmp_path)
