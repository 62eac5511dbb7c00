"""The paper's attack sets from a mirror with hand-made rows in the hub's schema: no hub."""

import re
from collections import Counter
from functools import cache

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.data import hub_sets
from solid_utils.model import hub
from solid_utils.settings import data_params
from tests import mirrors

COUNTS = {"alpaca": 20, "mmlu": 15}
PASSAGE = "What is stated in passage {}" + " and so on" * 9
BENCHMARK = {"question": PASSAGE.format(3).lower() + " about thing 1", "correct_answer": "A"}
BENCHMARK |= {
    f"answer_{letter}": f"{word} 10" for letter, word in zip("abcd", ("no", "none", "right", "wrong"), strict=True)
}


def alpaca(number: int) -> dict:
    return {"instruction": f"Do thing {number}.", "input": "x" * (number % 2), "output": f"done {number}"}


def auxiliary(number: int) -> dict:
    """Three questions a passage."""
    question = f"{PASSAGE.format(number // 3)} about thing {number % 3}?"
    choices = [f"{word} {number}" for word in ("wrong", "no", "none")]
    choices.insert(number % 4, f"right {number}")
    return {"question": question, "subject": "", "choices": choices, "answer": number % 4}


def settings(attack: int = 200, counts: dict = COUNTS, seed: int = 42) -> data_params.Data:
    return data_params.Data(
        source="hub",
        seed=seed,
        validation={"alpaca": 1, "mmlu": 1},
        evaluation={"alpaca": 1, "mmlu": 1},
        benchmark={"mmlu": 1, "mmlu_more": 1, "mmlu_examples": 1, "c4": 1},
        customization={"train": 1, "validation": 1, "test": 1},
        hub={"attack": attack, "validation": counts, "evaluation": counts, "characters": 600},
    )


def published(mirror) -> data_params.Published:
    return data_params.Published(mirror=mirror and str(mirror), judge=None)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """400 usable Alpaca rows, 599 usable questions; what was loaded once is kept."""
    useless = [alpaca(3), alpaca(0) | {"output": " "}, alpaca(999) | {"instruction": "long " * 200}]
    again = auxiliary(7) | {"question": auxiliary(7)["question"].lower()}
    long = auxiliary(0) | {"question": "long " * 200}
    tasks, questions = list(map(alpaca, range(400))), list(map(auxiliary, range(600)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "load", cache(hub.load))
        yield mirrors.attack_sources(tmp_path_factory.mktemp("mirror"), [*tasks, *useless], [*questions, again, long])


def split(mirror, **changes) -> dict[str, list[dict]]:
    return hub_sets.split(settings(**changes), published(mirror), [BENCHMARK])


def test_sets_have_their_counts_and_then_spare_items(mirror, capsys):
    sets = split(mirror)
    for name in ("validation", "evaluation"):
        assert len(sets[name]) == 35 + 2 * hub_sets.SPARE
        assert Counter(item["source"] for item in sets[name][:35]) == COUNTS
    assert len(sets["attack"]) == 200 + hub_sets.SPARE
    assert [item["source"] for item in sets["attack"][:200]] == ["alpaca", "mmlu"] * 100
    ids = [item["id"] for items in sets.values() for item in items]
    assert len(set(ids)) == len(ids) and ids[0] == "attack-00000"
    assert capsys.readouterr().out.splitlines() == [
        "tatsu-lab/alpaca: 403 rows, 400 distinct ones with a prompt of at most 600 characters",
        "cais/mmlu: 602 rows, 599 distinct ones with a prompt of at most 600 characters",
    ]


def test_no_task_question_or_passage_stands_in_two_sets(mirror):
    for kind in (r"Do thing (\d+)\.", r"in passage (\d+)"):
        found = [{re.search(kind, item["prompt"])[1] for item in items if re.search(kind, item["prompt"])}
                 for items in split(mirror).values()]  # fmt: skip
        assert all(found) and len(set.union(*found)) == sum(map(len, found))
    prompts = [item["prompt"] for items in split(mirror, attack=400).values() for item in items]
    assert len(set(prompts)) == len(prompts)
    assert not any("passage 3 and" in prompt and "thing 1?" in prompt for prompt in prompts), "a benchmark asks it"


def test_prompts_and_answers_are_those_of_table_4(mirror):
    items = [item for items in split(mirror).values() for item in items]
    kinds = Counter(item["prompt"].split("\n")[0] for item in items)
    assert len(kinds) == 4 and all("Below is" in kind or "multiple choice" in kind for kind in kinds)
    for item in items:
        if item["source"] == "alpaca":
            assert item["answer"] == re.search(r"Do thing (\d+)", item["prompt"]).expand(r"done \1")
        else:
            assert re.fullmatch(r"([A-D]:)?right \d+", item["answer"])
            assert (f"\n{item['answer']}\n" in item["prompt"]) == ("Choices" in item["prompt"])


def test_the_split_is_fixed_by_its_seed(mirror):
    assert split(mirror) == split(mirror)
    assert split(mirror)["validation"] != split(mirror, seed=20)["validation"]
    first = [item["prompt"] for item in split(mirror, attack=100)["attack"]]
    assert first == [item["prompt"] for item in split(mirror, attack=300)["attack"][: len(first)]]


def test_beyond_the_sources_questions_come_again_with_other_choices_first(mirror, capsys):
    items = split(mirror, attack=3000)["attack"]
    prompts = {item["prompt"] for item in items}
    assert len(prompts) == len(items) == 3000 + hub_sets.SPARE
    asked = Counter(re.search(r"What is.*", item["prompt"])[0] for item in items if item["source"] == "mmlu")
    assert max(asked.values()) - min(asked.values()) <= 1
    assert f"attack: {sum(asked.values()) - len(asked)} MMLU questions are asked again" in capsys.readouterr().out
    for item in items:
        if "Choices" in item["prompt"]:
            assert f"\n{item['answer']}\n" in item["prompt"] and re.fullmatch(r"[A-D]:right \d+", item["answer"])


def test_more_than_can_be_had_gets_one_line(mirror):
    with pytest.raises(StudyError, match=r"data.hub.attack: 99999 and 50 spare ones asked, \d+ there; ask for fewer"):
        split(mirror, attack=99_999)
    with pytest.raises(StudyError, match="data.hub.validation.alpaca: 350 and 50 spare ones asked, 400 left; ask for"):
        split(mirror, counts={"alpaca": 350, "mmlu": 1})
    with pytest.raises(StudyError, match=r"data.hub.evaluation.mmlu: 300 and 50 spare ones asked, \d+ left; ask for"):
        split(mirror, counts={"alpaca": 1, "mmlu": 300})


def test_without_mirror_or_hub_one_line_names_the_setting(tmp_path, monkeypatch):
    with pytest.raises(
        StudyError, match=r"tatsu-lab/alpaca: not to be had from the mirror .*published.mirror in params"
    ):
        split(tmp_path / "gone")
    old = mirrors.write(tmp_path, ["cais/mmlu"])  # a copy without the auxiliary set
    with pytest.raises(StudyError, match=r"cais/mmlu: not to be had from the mirror .*published.mirror in params"):
        hub.load("cais/mmlu", published(old), "all", "auxiliary_train")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match=r"tatsu-lab/alpaca: not to be had from the hub .*published.mirror in params"):
        split(None)


def test_the_hub_is_asked_for_pinned_commits(mirror, tmp_path, monkeypatch):
    asked, load, expected = [], hub.datasets.load_dataset, split(mirror)

    def from_the_mirror(repo, name=None, split=None, revision=None):
        asked.append((repo, name, split, len(revision)))
        return load(str(mirror / repo), name, split=split, cache_dir=tmp_path, keep_in_memory=True)

    monkeypatch.setattr("datasets.load_dataset", from_the_mirror)
    assert split(None) == expected
    assert asked == [("tatsu-lab/alpaca", None, "train", 40), ("cais/mmlu", "all", "auxiliary_train", 40)]
