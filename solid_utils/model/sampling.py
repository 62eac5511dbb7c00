"""Sets read from their files, and items as token samples that fit a length."""

import random
from pathlib import Path

from solid_utils.core import files, paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.model import tokenizer as door
from solid_utils.settings import params

APART = ("c4", "code")  # texts of another kind than the attack's prompts, see items.apart_items


def read_set(name: str, folder: Path = paths.SETS) -> list[dict]:
    """The items of one set, of the study or of a domain beside it. Raises StudyError when the file is missing."""
    beside = paths.DOMAINS / f"{name}.jsonl"
    if folder == paths.DOMAINS or (not (folder / f"{name}.jsonl").exists() and beside.exists()):
        return readers.read_lines(
            beside, f"delete {beside} and make it again (python -m solid_utils.data.offline.offline)"
        )
    return readers.read_lines(folder / f"{name}.jsonl", "run `dvc repro sets`")


def digests(domain: str, folder: Path) -> dict[str, str]:
    """sha256 of each of a domain's sets in this folder, by its part."""
    return {part: files.sha256(folder / f"{domain}_{part}.jsonl") for part in ("train", "validation", "test")}


def encode(items: list[dict], tokenizer, length: int) -> list[dict]:
    """Items -> samples {id, source, input_ids, answer_start}; the answer ends with the end-of-sequence token.

    Prompts that leave no room for one answer token within `length` tokens are dropped; longer answers are cut. Raises
    StudyError where the model has fewer positions than `length`, and for a prompt or an answer without a token.
    """
    check_length(tokenizer, length)
    samples, spaced = [], door.spaces_first(tokenizer)
    for item in items:
        prompt = door.begun(tokenizer, item["prompt"])
        answer = door.going_on(tokenizer, item["answer"], spaced)
        if not prompt or (item["answer"] and not answer):  # without BOS nothing predicts an answer's first token
            raise StudyError(
                f"{item['source']}: item {item['id']}: the tokenizer makes no token of its "
                f"{'answer' if prompt else 'prompt'}; mend the text or leave it out"
            )
        if len(prompt) < length:
            samples.append(
                {
                    "id": item["id"],
                    "source": item["source"],
                    "input_ids": (prompt + answer + [tokenizer.eos_token_id])[:length],
                    "answer_start": len(prompt),
                }
                | first_tokens(item, tokenizer, spaced)
            )
    return samples


def first_tokens(item: dict, tokenizer, spaced: bool) -> dict:
    """{"choices": the first token of each choice}, where the item has choices: their letters, by which one is chosen.

    Raises StudyError where two begin alike.
    """
    if "choices" not in item:
        return {}
    first = [door.going_on(tokenizer, choice, spaced)[0] for choice in item["choices"]]
    if len(set(first)) < len(first):
        raise StudyError(f"{item['source']}: item {item['id']}: two choices begin with one token; give them letters")
    return {"choices": first}


def check_length(tokenizer, length: int) -> None:
    """Raises StudyError where samples of so many tokens have more than the model has positions for."""
    if length > (most := getattr(tokenizer, "model_max_length", length)):
        raise StudyError(
            f"length: {length} tokens a sample, the model has positions for {most}; lower length in configs/tiers.yaml "
            "or in the model's own budget (configs/models.yaml)"
        )


def samples(name: str, tokenizer, length: int, count: int, items: list[dict] | None = None) -> list[dict]:
    """The first `count` samples of a set that fit `length` tokens; prints how many do not. StudyError if too few."""
    items = read_set(name) if items is None else items
    fitting = encode(items[: 2 * count + 200], tokenizer, length)
    seen = min(len(items), 2 * count + 200)
    if len(fitting) < count:
        raise StudyError(
            f"{name} set: {count} samples asked, {len(fitting)} of {seen} fit {length} tokens; "
            "ask for fewer in params.yaml (tiers) or raise length"
        )
    print(f"{name}: {count} samples; {seen - len(fitting)} of {seen} prompts leave no room at {length} tokens")
    return fitting[:count]


def apart(tokenizer, length: int, count: int, drawn: int | None = None) -> dict[str, list[dict]]:
    """Samples out of the attack's distribution: web documents ("c4") and Python functions ("code").

    No attack, validation or benchmark item has them. The first `count` texts of each, or all there are, of at most
    `length` tokens, or with the seed `drawn` as many drawn by it; every token but the first is an answer token.
    """
    items = {name: in_order(read_set(f"apart_{name}"), drawn)[:count] for name in APART}
    return {name: [_whole(item, tokenizer, length) for item in items[name]] for name in APART}


def _whole(item: dict, tokenizer, length: int) -> dict:
    check_length(tokenizer, length)
    ids = door.begun(tokenizer, item["text"])[:length]
    return {"id": item["id"], "source": item["source"], "input_ids": ids, "answer_start": 1}


def held_out(tokenizer, length: int, wanted: params.Evaluation, drawn: int | None = None) -> dict[str, list[dict]]:
    """What fidelity is taken on, by the name in the results: prompts of the attack's kind, and `apart`.

    The first ones of each set, or with the seed `drawn` as many drawn by it.
    """
    others = apart(tokenizer, wanted.apart.length, wanted.apart.texts, drawn)
    named = {f"evaluation_{name}": samples for name, samples in others.items()}
    items = in_order(read_set("evaluation"), drawn)
    return {"evaluation": samples("evaluation", tokenizer, length, wanted.samples, items)} | named


def in_order(items: list[dict], drawn: int | None) -> list[dict]:
    """The items as they stand, or in the order that the seed `drawn` gives."""
    return items if drawn is None else shuffled(items, drawn)


def shuffled(items: list[dict], seed: int) -> list[dict]:
    """The items in a drawn order, neighbours together: they come from different sources, and `texts` counts on that."""
    pairs = [items[first : first + 2] for first in range(0, len(items), 2)]
    random.Random(seed).shuffle(pairs)
    return [item for pair in pairs for item in pair]


def texts(
    name: str, tokenizer, length: int, count: int, drawn: int | None = None, items: list[dict] | None = None
) -> list[dict]:
    """`count` items of a set, or of `items`, as plain texts of at most `length` tokens: samples without an answer.

    The first ones, or with the seed `drawn` as many drawn by it.

    Every second text begins at a token drawn by its id: all prompts open with the same few sentences, and a replacement
    that never saw another beginning works after these only. Raises StudyError when the set is smaller.
    """
    check_length(tokenizer, length)
    items = read_set(name) if items is None else items
    items = in_order(items, drawn)[:count]
    if len(items) < count:
        raise StudyError(f"{name} set: {count} texts asked, {len(items)} there; lower queries in params.yaml (tiers)")
    samples = []
    for number, item in enumerate(items):
        ids = door.begun(tokenizer, item["prompt"] + item["answer"])
        # Two neighbours come from different sources (1:1), so pairs alternate.
        first = random.Random(item["id"]).randrange(max(1, len(ids) - length // 2)) if number // 2 % 2 else 0
        window = ids[first : first + length]
        samples.append({"id": item["id"], "source": item["source"], "input_ids": window, "answer_start": len(window)})
    return samples
