"""Near-duplicates: items that share most of their runs of words, which would stand in training and in test."""

import re
from collections import Counter, defaultdict

SHINGLE = 5  # tokens
ALIKE = 0.6  # shared shingles of two items' union, from which on they are one
HEADINGS = r"### (?:Instruction|Question|Input|Response|Choices|Answer):"


def shingles(item: dict) -> set[tuple[str, ...]]:
    """Runs of SHINGLE tokens of what is given and answered, without the prompt's frame; all where there are fewer."""
    parts = re.split(HEADINGS, item["prompt"])
    # With an input, the instruction before it is the same for all.
    given = parts[2] if "### Input:" in item["prompt"] else parts[1]
    answered = item["answer"] if "answer" in item else item["chosen"]  # of pairs the better one
    tokens = re.findall(r"\w+|[^\w\s]", f"{given} {answered}")
    return {tuple(tokens[at : at + SHINGLE]) for at in range(max(1, len(tokens) - SHINGLE + 1))}


def without_near_duplicates(items: list[dict]) -> list[dict]:
    """Items of which no earlier one shares ALIKE of the shingles (Jaccard), in their order."""
    kept: list[dict] = []
    sizes: list[int] = []
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for item in items:
        mine = shingles(item)
        shared = Counter(number for one in mine for number in holders[one])
        if any(common / (len(mine) + sizes[number] - common) >= ALIKE for number, common in shared.items()):
            continue
        for one in mine:
            holders[one].append(len(kept))
        sizes.append(len(mine))
        kept.append(item)
    return kept


def told(name: str, before: int, after: int, why: str) -> None:
    """Print how many items were left out, where there were any."""
    if after < before:
        print(f"{name}: {before - after} of {before} items left out, {why}", flush=True)
