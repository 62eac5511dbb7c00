"""The paper's customization data on hand-made rows in their hub schema: no hub."""

import re
from pathlib import Path

import pandas as pd
import pytest

from solid_utils.core.errors import StudyError
from solid_utils.data import domains
from solid_utils.data.asked import Bank
from solid_utils.data.domains import DOMAINS
from solid_utils.paper import paper
from solid_utils.settings import data_params
from tests import mirrors
from tests.data.test_hub_sets import published, settings

ROWS = 12
PUBLISHED = Path(paper.__file__).parent / "published"


def said(content: str, number: int) -> list[dict]:
    return [{"content": f"Ask {number}", "role": "user"}, {"content": content, "role": "assistant"}]


# A row of each data set, in the columns that the hub has.
MAKERS = {
    "m-a-p/CodeFeedback-Filtered-Instruction": lambda n: {
        "query": f"Sort {n}", "answer": f"sorted({n})", "resource": "evol", "lang": "python",
    },
    "sahil2801/CodeAlpaca-20k": lambda n: {"instruction": f"Print {n}", "input": "", "output": f"print({n})"},
    "TIGER-Lab/MathInstruct": lambda n: {"source": "gsm.json", "instruction": f"{n} + 1?", "output": f"{n + 1}"},
    "openlifescienceai/medmcqa": lambda n: {
        "id": str(n), "question": f"Which nerve, {n}?", "opa": "vagus", "opb": "ulnar", "opc": "sural", "opd": "none",
        "cop": n % 4, "choice_type": "single", "exp": None, "subject_name": "Anatomy", "topic_name": None,
    },
    "nguha/legalbench": lambda n: {"index": str(n), "answer": "Yes", "text": f"Clause {n}", "question": "Is it so?"},
    **{
        f"FinGPT/fingpt-{name}": lambda n, name=name: {
            "input": f"Profit rose {n} %.", "output": "positive", "instruction": f"What is the {name} of this?",
        }
        for name in ("sentiment-train", "headline", "finred", "fiqa_qa", "ner")
    },
    "HuggingFaceH4/ultrafeedback_binarized": lambda n: {
        "prompt": f"Ask {n}", "prompt_id": str(n), "chosen": said(f"good {n}", n), "rejected": said(f"bad {n}", n),
        "messages": said("good", n), "score_chosen": 8.0, "score_rejected": 3.0,
    },
}  # fmt: skip
CONFIGURATIONS = {"nguha/legalbench": ["proa", "hearsay"]}  # hearsay is scored (Table 6)


def sized(train: int, validation: int = 2, test: int = 2, **more) -> data_params.Data:
    plain = settings()
    sizes = {"train": train, "validation": validation, "test": test}
    return plain.model_copy(update={"customization": data_params.CustomizationSets(**sizes)} | more)


@pytest.fixture
def mirror(tmp_path):
    def lay(repo: str, rows: list[dict]) -> None:
        split = next(one.split for sources in DOMAINS.values() for one in sources if one.repo == repo)
        names = CONFIGURATIONS.get(repo, ["default"])
        mirrors.lay(tmp_path / repo, {name: {split: rows} for name in names})

    for repo, make in MAKERS.items():
        lay(repo, [make(number) for number in range(ROWS)])
    return tmp_path, lay


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_become_disjoint_sets_of_alpaca_prompts(domain, mirror):
    folder, _ = mirror
    there = ROWS * len(DOMAINS[domain])
    sets = domains.split(domain, sized(there - 4), published(folder))
    assert {name: len(items) for name, items in sets.items()} == {"train": there - 4, "validation": 2, "test": 2}
    items = [one for part in sets.values() for one in part]
    assert len({one["prompt"] for one in items}) == there
    for one in items:
        assert one["prompt"].startswith("Below is an instruction") and one["prompt"].endswith("### Response:\n")
        assert re.fullmatch(rf"{domain}-(train|validation|test)-\d{{5}}", one["id"])
        assert ("chosen" in one, "answer" in one) == ((True, False) if domain == "alignment" else (False, True))
    assert domains.split(domain, sized(there - 4), published(folder)) == sets  # drawn by the seed


def test_what_rows_of_each_domain_say(mirror):
    folder, _ = mirror
    first = {name: domains.split(name, sized(4), published(folder))["train"] for name in DOMAINS}
    medical = next(one for one in first["medical"])
    letter, text = medical["answer"].split(":")
    assert (
        "### Input:\nA:vagus\nB:ulnar\nC:sural\nD:none\n" in medical["prompt"]
        and f"{letter}:{text}" in medical["prompt"]
    )
    law = first["law"][0]
    assert (
        "Solve the legal task 'proa'." in law["prompt"] and "text: Clause" in law["prompt"] and law["answer"] == "Yes"
    )
    assert "index" not in law["prompt"] and "answer" not in law["prompt"].lower().replace("appropriately", "")
    pair = first["alignment"][0]
    assert pair["chosen"].startswith("good") and pair["rejected"].startswith("bad")


def test_tasks_that_a_benchmark_scores_are_not_read(mirror, capsys):
    """LegalBench has as many rows again, of a task that Table 6 asks; a source with fewer than asked gives all."""
    folder, _ = mirror
    found = domains.split("law", sized(13), published(folder))
    assert [len(items) for items in found.values()] == [ROWS - 4, 2, 2]
    assert "law: 13 training items asked, 8 are left; all of them are taken" in capsys.readouterr().out


def test_where_validation_and_test_leave_nothing_it_is_one_line(mirror):
    folder, _ = mirror
    with pytest.raises(StudyError, match="6 law items asked for validation and 6 for the test, 12 there"):
        domains.split("law", sized(1, 6, 6), published(folder))


def test_what_is_asked_empty_or_twice_there_is_left_out(mirror, capsys):
    folder, lay = mirror
    make = MAKERS["TIGER-Lab/MathInstruct"]
    rows = [make(number) for number in range(ROWS)]
    lay("TIGER-Lab/MathInstruct", [*rows, make(3) | {"output": "again"}, make(99) | {"output": " "}])
    sets = domains.split("math", sized(7), published(folder), Bank([("2 + 1", [])]))
    assert "math: 1 of 12 rows are asked by benchmarks and left out" in capsys.readouterr().out
    prompts = [one["prompt"] for part in sets.values() for one in part]
    assert len(prompts) == 11 and not any("\n2 + 1?" in one or "\n99 + 1?" in one for one in prompts)


@pytest.mark.parametrize(
    ("repo", "domain", "change", "wrong"),
    [
        ("TIGER-Lab/MathInstruct", "math", {"instruction": 5}, "instruction: is no text (5)"),
        ("openlifescienceai/medmcqa", "medical", {"cop": 4}, "cop: is 4, not one of 0, 1, 2, 3"),
        ("HuggingFaceH4/ultrafeedback_binarized", "alignment", {"chosen": []}, "chosen: is no conversation"),
        ("sahil2801/CodeAlpaca-20k", "code", {"input": None}, "input: is no text (None)"),
    ],
)
def test_another_schema_is_one_line(repo, domain, change, wrong, mirror):
    folder, lay = mirror
    lay(repo, [MAKERS[repo](number) | change for number in range(2)])
    with pytest.raises(StudyError) as error:
        domains.split(domain, sized(1), published(folder))
    assert f"{repo}: " in str(error.value) and f" row 1: {wrong}" in str(error.value) and "\n" not in str(error.value)


def test_without_a_commit_the_hub_is_not_asked():
    unpinned = {one.repo for sources in DOMAINS.values() for one in sources if one.revision is None}
    assert unpinned == {"sahil2801/CodeAlpaca-20k"} | {one.repo for one in DOMAINS["finance"]}
    with pytest.raises(StudyError, match="data.revisions: no commit of FinGPT/fingpt-sentiment-train, and none is"):
        domains.split("finance", sized(1), published(None))
    pinned = [one.revision for sources in DOMAINS.values() for one in sources if one.revision]
    assert all(re.fullmatch(data_params.COMMIT, one) for one in pinned)


def test_domains_are_table_8s():
    printed = pd.read_csv(PUBLISHED / "table08_customization_data_sets.csv")
    assert set(data_params.HubDomain.__args__) == set(DOMAINS) == set(printed["domain"].str.lower())
    counts = [one.rows for sources in DOMAINS.values() for one in sources if one.rows]
    assert {one.upper() for one in counts} | {"204K"} == set(printed["size"].str.upper())
