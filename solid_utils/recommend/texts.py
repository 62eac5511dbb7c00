"""Which texts a recommendation works on: samples that are scored, texts that the attack asks, text that is public."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from solid_utils.core import paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.evaluation import floor
from solid_utils.model import sampling

ASKED_LENGTH = 128  # tokens of a query at most, as in the study's own cells (configs/tiers.yaml, sem.length)
LEAST = 18  # fewer texts leave two to choose a penalty by
STUDY = "the study's attack set"


@dataclass(frozen=True)
class Asked:
    """What a thief works with."""

    samples: list[dict]  # texts without an answer; the victim is asked each once
    public: list[list[int]]  # token ids of text that nobody was asked for: what the floor is counted on
    source: str  # where they come from, in words


def read_samples(
    data: Path | None, tokenizer: PreTrainedTokenizerBase, count: int, length: int
) -> tuple[list[dict], list[dict]]:
    """The first samples that fit the length, of the given file or the evaluation set, and the file's items that are
    none of them, nor share a prompt with one. Raises StudyError if too few fit."""
    items = read_own(data) if data else sampling.read_set("evaluation")
    fitting = sampling.encode(items[: 2 * count + 200], tokenizer, length)[:count]
    if len(fitting) < count:
        raise StudyError(
            f"{data or 'evaluation set'}: {count} samples asked, {len(fitting)} fit {length} tokens; "
            f"ask for {len(fitting) or 'fewer'} with --samples, or raise --length"
        )
    if not data:
        return fitting, []
    chosen = {sample["id"] for sample in fitting}
    held_out = {item["prompt"] for item in items if item["id"] in chosen}
    return fitting, [item for item in items if item["prompt"] not in held_out]


def read_own(path: Path) -> list[dict]:
    """Prompts and answers of a user's JSON lines. Raises StudyError naming path and line, see readers.read_texts."""
    if not path.is_file():
        raise StudyError(f"--data {path}: no such file; give one with a prompt and an answer a line")
    fix = 'write {"prompt": "...", "answer": "..."} a line, in UTF-8'
    rows = readers.read_texts(path, ("prompt", "answer"), fix)
    return [{"id": f"on line {row.pop('line')}", "source": str(path)} | row for row in rows]


def read_asked(
    data: Path | None, others: list[dict], tokenizer: PreTrainedTokenizerBase, count: int, length: int, seed: int
) -> Asked:
    """Texts for the attack: those of the user's file that are not scored, else the study's attack set.

    Of the file's as many as there are, up to `count`, drawn by `seed` as the study draws. Raises StudyError where
    there are fewer than LEAST.
    """
    items, source = others, f"{data}, lines that are not scored"
    if len(others) < LEAST:
        if not (paths.SETS / "attack.jsonl").exists():
            where = f"--data {data}: {len(others)} lines besides those scored" if data else "--queries: no attack set"
            raise StudyError(
                f"{where}, the attack asks at least {LEAST}; give more lines, run `dvc repro sets`, or take --no-attack"
            )
        items, source = sampling.read_set("attack"), STUDY
    length = min(length, ASKED_LENGTH)
    texts = sampling.texts("attack", tokenizer, length, min(count, len(items)), seed, items)
    public = floor.tokens(items, tokenizer)
    return Asked([text for text in texts if len(text["input_ids"]) > 1], public, source)
