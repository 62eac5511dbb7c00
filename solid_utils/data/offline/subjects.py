"""Questions of MMLU subjects with their choices; none that a benchmark, the validation or the evaluation set asks."""

from pathlib import Path

from solid_utils.core.errors import StudyError
from solid_utils.data.asked import Bank
from solid_utils.data.offline.near import without_near_duplicates
from solid_utils.data.prompts import distinct, mmlu_item
from solid_utils.settings.domain_params import Subjects

LETTERS = "ABCD"


def items(wanted: Subjects, rows: list[dict], asked: Bank) -> tuple[list[dict], list[dict]]:
    """Items of the subjects, and of those that are only tested. `rows`: MMLU as packaged; `asked`: what others ask.

    Raises StudyError for a subject that MMLU does not have.
    """
    topics = {row["topic"] for row in rows}
    for subject in (*wanted.subjects, *wanted.tested):
        if subject not in topics:
            raise StudyError(
                f"configs/domains.yaml: subjects: no '{subject}' in MMLU; choose of {', '.join(sorted(topics))}"
            )
    fresh = asked.without_mmlu(distinct(rows))
    tested = of_topics(fresh, wanted.tested)
    kept = without_near_duplicates([*tested, *of_topics(fresh, wanted.subjects)])  # law's cases are told several times
    names = {topic.replace(" ", "_") for topic in wanted.tested}
    return [one for one in kept if one["source"] not in names], [one for one in kept if one["source"] in names]


def of_topics(rows: list[dict], topics: list[str]) -> list[dict]:
    return [choice_item(row) for row in rows if row["topic"] in topics]


def choice_item(row: dict) -> dict:
    """Prompt, answer ("B:a vein"), and all four such choices."""
    choices = [f"{letter}:{row[f'answer_{letter.lower()}']}" for letter in LETTERS]
    return mmlu_item(row, with_choices=True) | {"source": row["topic"].replace(" ", "_"), "choices": choices}


def held_by(folder: Path, rows: list[dict], read: object) -> Bank:
    """What the sets in `folder` ask that a customer must not be trained on: benchmarks, validation and evaluation."""
    prompts = {item["prompt"] for name in ("validation", "evaluation") for item in read(folder / f"{name}.jsonl")}
    questions = {item["question"] for item in read(folder / "benchmarks" / "mmlu_5shot.jsonl")}
    examples = {
        one["question"] for item in read(folder / "benchmarks" / "mmlu_5shot.jsonl") for one in item["examples"]
    }
    taken = [
        row
        for row in rows
        if row["question"] in questions | examples
        or any(mmlu_item(row, choices)["prompt"] in prompts for choices in (True, False))
    ]
    return Bank((row["question"], [row[f"answer_{one}"] for one in "abcd"]) for row in taken)
