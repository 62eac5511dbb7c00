"""What benchmarks ask is kept out of attack, validation and evaluation sets, whichever source these come from.

The paper does not do so: its attack set is half MMLU's auxiliary training set (B.2), which was gathered from ARC,
OpenBookQA, RACE and others, and it scores on ARC and OpenBookQA (Table 7).
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from solid_utils.core.errors import StudyError
from solid_utils.data.items import read_lines
from solid_utils.data.prompts import plain_text
from solid_utils.model import hub
from solid_utils.settings import data_params
from solid_utils.tasks import copies, downloads
from solid_utils.tasks.downloads import NO_NAME, Asked, DataSet

SHARED = 2  # choices in common, from which on two questions in the same words are one: ARC's five became four in MMLU


class Bank:
    """Questions that are asked, and how to find them again: case, blanks, quotes and closing marks do not count."""

    def __init__(self, asked: Iterable[Asked] = ()) -> None:
        self.choices: dict[str, list[set[str]]] = defaultdict(list)
        for question, choices in asked:
            options = set(map(plain_text, choices))
            # A question without words is asked with a picture or not at all: it says nothing.
            if (known := plain_text(question)) and options not in self.choices[known]:
                self.choices[known].append(options)

    def __add__(self, other: "Bank") -> "Bank":
        pairs = [*self.choices.items(), *other.choices.items()]
        return Bank((question, list(options)) for question, found in pairs for options in found)

    def asks(self, question: str, choices: Iterable[str] = ()) -> bool:
        """Is this question asked? With choices on both sides they must share SHARED of them, or all."""
        options = set(map(plain_text, choices))
        return any(
            not options or not others or len(options & others) >= min(SHARED, len(others))
            for others in self.choices.get(plain_text(question), ())
        )

    def without_mmlu(self, rows: list[dict]) -> list[dict]:
        """MMLU rows, in the packaged schema, that are not asked."""
        return [row for row in rows if not self.asks(row["question"], [row[f"answer_{one}"] for one in "abcd"])]

    def without_alpaca(self, rows: list[dict]) -> list[dict]:
        """Alpaca rows of which neither the instruction, nor the input, nor both together are asked."""
        texts = [(row, (row["instruction"], row["input"], f"{row['instruction']} {row['input']}")) for row in rows]
        return [row for row, parts in texts if not any(map(self.asks, parts))]


def offline_bank(raw: Path) -> Bank:
    """What the offline suites ask beside MMLU, whose questions sets.py holds out itself; from the raw data folder."""
    asked = [(row["ctx"], row["endings"]) for row in read_lines(raw / "hellaswag.jsonl")]
    asked += [(row["question"], row["choices"]) for row in read_lines(raw / "truthfulqa_mc1.jsonl")]
    asked += [(row["prompt"], []) for name in ("gsm8k.jsonl", "HumanEval.jsonl.gz") for row in read_lines(raw / name)]
    return Bank(asked)


def published_bank(parts: frozenset[str], settings: data_params.Published) -> Bank:
    """What the published benchmarks of these parts ask, and MMLU's worked examples, which are the same for all.

    Worked examples that are drawn from a training split are no part of it. Raises StudyError where a data set is not to
    be had.
    """
    return Bank(found for one in downloads.needed(parts) for found in _asked(one, settings))


def _asked(one: DataSet, settings: data_params.Published) -> Iterable[Asked]:
    splits = [one.asked, "dev"] if one.examples == "dev" else [one.asked]
    for name in one.names():
        for split in splits:
            if settings.mirror:  # read as they lie: datasets takes a second for each of a hundred configurations
                rows = copies.sound_rows(hub.place(one.repo, settings), one, name, split)
                yield from (one.ask(row) for _, _, row in rows)
            else:
                yield from map(one.ask, hub.load(one.repo, settings, None if name == NO_NAME else name, split))


def told(what: str, rows: list, kept: list) -> list:
    """The kept rows; one line says how many are gone."""
    if len(kept) < len(rows):
        print(f"{what}: {len(rows) - len(kept)} of {len(rows)} rows are asked by benchmarks and left out")
    return kept


def refuse_nothing_left(kept: list, source: str) -> None:
    """Raises StudyError where benchmarks ask all there is."""
    if not kept:
        raise StudyError(
            f"params.yaml: data.source: {source}: suite: published asks every MMLU question of it, so none is left to "
            "attack and to evaluate with; set data.source: hub, or another suite"
        )
