"""Raw data -> attack, validation, evaluation and benchmark items, split once by item; prompts of the paper's Table 4.

The paper's sampling steps overlap and do not give its printed counts (B.2, Table 5), so the sets are drawn by one
seeded shuffle instead, disjoint by construction.

    python -m solid_utils.sets RAW_DATA
"""

import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import reasoning_gym

from solid_utils import benchmarks, errors, fetch, params
from solid_utils.data import SETS, write_lines
from solid_utils.errors import StudyError

# The paper's Table 4, word for word.
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
MMLU_QUESTION = "Below is a question with no choices. Write the correct answer that appropriately solves the question."
MMLU_CHOICE = (
    "The following is a multiple choice question, paired with choices. "
    "Answer the question in the format: “Choice:content”."
)


def alpaca_item(row: dict) -> dict:
    """One Alpaca row -> prompt and answer."""
    head = ALPACA_WITH_INPUT if row["input"] else ALPACA
    context = f"\n\n### Input:\n{row['input']}" if row["input"] else ""
    prompt = f"{head}\n\n### Instruction:\n{row['instruction']}{context}\n\n### Response:\n"
    return {"source": "alpaca", "prompt": prompt, "answer": row["output"]}


def mmlu_item(row: dict, with_choices: bool) -> dict:
    """One MMLU row -> prompt and answer, as a multiple-choice or as an open question."""
    answer = row[f"answer_{row['correct_answer'].lower()}"]
    if not with_choices:
        prompt = f"{MMLU_QUESTION}\n\n### Question:\n{row['question']}\n\n### Answer:\n"
        return {"source": "mmlu", "prompt": prompt, "answer": answer}
    choices = "\n".join(f"{letter}:{row[f'answer_{letter.lower()}']}" for letter in "ABCD")
    prompt = f"{MMLU_CHOICE}\n\n### Question:\n{row['question']}\n\n### Choices:\n{choices}\n\n### Answer:\n"
    return {"source": "mmlu", "prompt": prompt, "answer": f"{row['correct_answer']}:{answer}"}


def read_mmlu(path: Path) -> list[dict]:
    """MMLU rows without the two stray header rows and without duplicates (same question and choices)."""
    rows = {}
    for row in benchmarks.read_lines(path):
        if row["correct_answer"] != "answer":
            rows.setdefault((row["question"], *(row[f"answer_{letter}"] for letter in "abcd")), row)
    return list(rows.values())


def read_alpaca(path: Path) -> list[dict]:
    """Alpaca rows without duplicates (same instruction and input) and without empty answers."""
    rows = {}
    for row in json.loads(path.read_text(encoding="utf8")):
        if row["output"].strip():
            rows.setdefault((row["instruction"], row["input"]), row)
    return list(rows.values())


def draw(items: list, sizes: dict[str, int], what: str) -> dict[str, list]:
    """Cut disjoint pieces off a shuffled list; the rest is the attack set. Raises StudyError if it is too short."""
    if sum(sizes.values()) >= len(items):
        raise StudyError(
            f"params.yaml: data: {sum(sizes.values())} {what} items asked, {len(items)} there; ask for fewer"
        )
    pieces, start = {}, 0
    for name, size in sizes.items():
        pieces[name] = items[start : start + size]
        start += size
    return pieces | {"attack": items[start:]}


def subjects_first(rows: list[dict], subjects: int) -> list[dict]:
    """Reorder shuffled rows so that every run of `subjects` rows covers the subjects evenly (round robin)."""
    queues = defaultdict(list)
    for row in rows:
        queues[row["topic"]].append(row)
    rounds = max(len(queue) for queue in queues.values())
    return [queue[turn] for turn in range(rounds) for _, queue in sorted(queues.items()) if turn < len(queue)]


def interleave(first: list, second: list) -> list:
    """Alternate two lists while both last (the paper's 1:1 ratio), then the rest of the longer one."""
    both = min(len(first), len(second))
    return [item for pair in zip(first, second, strict=False) for item in pair] + first[both:] + second[both:]


def split(raw: Path, settings: params.Data) -> dict[str, list[dict]]:
    """The disjoint sets {attack, validation, evaluation} of prompt-answer items, and the raw MMLU benchmark rows."""
    generator = random.Random(settings.seed)
    alpaca, mmlu = read_alpaca(raw / "alpaca_en_demo.json"), read_mmlu(raw / "mmlu.jsonl")
    generator.shuffle(alpaca)
    generator.shuffle(mmlu)
    mmlu = subjects_first(mmlu, 57)
    alpaca = draw(
        alpaca, {"validation": settings.validation.alpaca, "evaluation": settings.evaluation.alpaca}, "Alpaca"
    )
    sizes = {
        "benchmark": settings.benchmark.mmlu,
        "validation": settings.validation.mmlu,
        "evaluation": settings.evaluation.mmlu,
    }
    mmlu = draw(mmlu, sizes, "MMLU")
    sets = {}
    for name in ("attack", "validation", "evaluation"):
        # Open questions only where the question stands without its choices; half of those, by a seeded coin.
        questions = [mmlu_item(row, not (stands_alone(row) and generator.random() < 0.5)) for row in mmlu[name]]
        mixed = interleave([alpaca_item(row) for row in alpaca[name]], questions)
        sets[name] = [{"id": f"{name}-{number:05d}"} | item for number, item in enumerate(mixed)]
    return sets | {"mmlu_benchmark": mmlu["benchmark"]}


def stands_alone(row: dict) -> bool:
    """Can the question be answered without seeing its choices?"""
    question = row["question"].lower()
    return question.endswith("?") and not any(word in question for word in ("which", "following", "these", "statement"))


def math_items(settings: params.CustomizationSets, seed: int) -> dict[str, list[dict]]:
    """Fresh arithmetic problems from reasoning-gym, half bare sums, half in words: the customer's private data."""
    wanted = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    total = sum(wanted.values())
    kinds = {
        "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3},
        "gsm_symbolic": {},
    }
    halves = []
    for kind, shape in kinds.items():
        source = reasoning_gym.create_dataset(kind, seed=seed, size=2 * total, **shape)
        rows = {row["question"]: row["answer"] for row in source}  # a question once
        halves.append(
            [
                alpaca_item({"instruction": question, "input": "", "output": answer}) | {"source": kind}
                for question, answer in rows.items()
            ]
        )
    items = interleave(*halves)[: 2 * min(len(half) for half in halves)]
    pieces = draw(items, wanted, "reasoning-gym")
    return {name: [{"id": f"math-{name}-{n:05d}"} | item for n, item in enumerate(pieces[name])] for name in wanted}


def write_sets(raw: Path, folder: Path, settings: params.Data) -> None:
    """Write every set as JSON lines, and the benchmark items. Raises StudyError on a missing or altered raw file."""
    fetch.verify(raw)
    sets = split(raw, settings)
    documents = benchmarks.read_lines(raw / "c4_demo.jsonl")
    mmlu_rows = sets.pop("mmlu_benchmark")
    sets |= {f"math_{name}": items for name, items in math_items(settings.customization, settings.seed).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in sets.items():
        print(f"{name}: {len(items)} items", flush=True)
        write_lines(items, folder / f"{name}.jsonl")
    benchmarks.write_benchmarks(raw, folder / "benchmarks", mmlu_rows, documents[: settings.benchmark.c4])


if __name__ == "__main__":
    with errors.one_line():
        write_sets(Path(sys.argv[1]), SETS, params.load().data)
