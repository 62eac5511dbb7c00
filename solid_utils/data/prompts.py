"""Rows of Alpaca and MMLU -> items with the prompts of the paper's Table 4, each asked once."""

import random

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
STRAIGHT = str.maketrans("‘’“”", "''\"\"")


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


def stands_alone(row: dict) -> bool:
    """Can the question be answered without seeing its choices?"""
    question = row["question"].lower()
    return question.endswith("?") and not any(word in question for word in ("which", "following", "these", "statement"))


def mmlu_items(rows: list[dict], generator: random.Random) -> list[dict]:
    """MMLU rows -> items; open questions where they stand without their choices, half of those by a seeded coin."""
    return [mmlu_item(row, not (stands_alone(row) and generator.random() < 0.5)) for row in rows]


def answered(rows: list[dict]) -> list[dict]:
    """Alpaca rows without duplicates (same instruction and input) and without empty answers."""
    first = {}
    for row in rows:
        if row["output"].strip():
            first.setdefault((row["instruction"], row["input"]), row)
    return list(first.values())


def distinct(rows: list[dict]) -> list[dict]:
    """MMLU rows, each question once: the first that asks it, in their order.

    Two rows ask the same if question and choices, in whatever order, differ in case, blanks, quotes and closing
    punctuation at most. Signs inside count: Q(sqrt(2) + sqrt(3)) is not Q(sqrt(2) * sqrt(3)).
    """
    first = {}
    for row in rows:
        choices = sorted(plain_text(row[f"answer_{letter}"]) for letter in "abcd")
        first.setdefault((plain_text(row["question"]), *choices), row)
    return list(first.values())


def plain_text(text: str) -> str:
    """Lower case, straight quotes, single blanks, nothing that closes a sentence before a blank or at the end."""
    # Questions that differ in type only once stood in two sets: a leak from attack to evaluation.
    words = text.casefold().translate(STRAIGHT).split()
    return " ".join(word.rstrip(".,:;?!") for word in words if word.strip(".,:;?!"))


def interleave(first: list, second: list) -> list:
    """Alternate two lists while both last (the paper's 1:1 ratio), then the rest of the longer one."""
    both = min(len(first), len(second))
    return [item for pair in zip(first, second, strict=False) for item in pair] + first[both:] + second[both:]
