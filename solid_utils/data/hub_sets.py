"""The paper's attack, validation and evaluation sets (B.2, Tables 4 and 5): Alpaca and MMLU's auxiliary training set.

The printed sampling does not give the printed counts: half of the 99,842 auxiliary rows and every second of the 52,002
Alpaca rows are not 25,500 each, every 751st Alpaca row makes 70, not the 765 or 751 of Table 5, and steps of 2 and 751
meet in the same rows. The counts are kept here; the sets are drawn by one seeded shuffle and are disjoint.

Table 25 goes up to 500,000 samples and does not say of what; the two sources hold 151,844 rows. Where MMLU's are used
up, they are asked again with their choices in another order; where Alpaca's are, the rest is MMLU. Neither source was
fetched here: how many of their prompts are distinct and short enough is what the stage prints.
"""

import random
from collections.abc import Callable, Iterator
from itertools import chain, islice, permutations
from pathlib import Path

from solid_utils.core.errors import StudyError
from solid_utils.data.asked import Bank, told
from solid_utils.data.prompts import alpaca_item, answered, distinct, interleave, mmlu_item, mmlu_items
from solid_utils.model import hub
from solid_utils.settings import data_params
from solid_utils.tasks import copies
from solid_utils.tasks.downloads import needed

ALPACA, MMLU = "tatsu-lab/alpaca", "cais/mmlu"
SPARE = 50  # items beyond the counts, of each source where held out, for those that some tokenizer makes too long
OPENING = 100  # characters; by the same ones begin questions about the same passage


def split(
    settings: data_params.Data, published: data_params.Published, asked: list[dict], bank: Bank | None = None
) -> dict[str, list[dict]]:
    """The sets {attack, validation, evaluation} of prompt-answer items: data.hub's counts first, then spare ones.

    `asked`: MMLU rows, in the packaged schema, that stand in benchmarks; `bank`: what else benchmarks ask. Raises
    StudyError where the sources are not to be had or hold too little.
    """
    wanted = settings.hub
    generator = random.Random(settings.seed)
    bank = bank or Bank()
    _check_copies(published)
    tasks = _alpaca(wanted.characters, published)
    questions = _mmlu(wanted.characters, published, asked)
    alpaca = told(ALPACA, tasks, bank.without_alpaca(tasks))
    mmlu = told(MMLU, questions, bank.without_mmlu(questions))
    generator.shuffle(alpaca)
    generator.shuffle(mmlu)
    held = {"validation": wanted.validation, "evaluation": wanted.evaluation}
    alpaca = hold_out(alpaca, {name: sizes.alpaca for name, sizes in held.items()}, "alpaca", _task)
    mmlu = hold_out(mmlu, {name: sizes.mmlu for name, sizes in held.items()}, "mmlu", _question)
    sets = {"attack": _attack(alpaca["attack"], mmlu["attack"], wanted.attack, generator)}
    for name, sizes in held.items():
        tasks, questions = list(map(alpaca_item, alpaca[name])), mmlu_items(mmlu[name], generator)
        spare = interleave(tasks[sizes.alpaca :], questions[sizes.mmlu :])
        sets[name] = interleave(tasks[: sizes.alpaca], questions[: sizes.mmlu]) + spare
    return {name: [{"id": f"{name}-{n:05d}"} | item for n, item in enumerate(items)] for name, items in sets.items()}


def _check_copies(published: data_params.Published) -> None:
    """Raises StudyError where the mirror's copies of the two sources are not whole."""
    if not published.mirror:
        return
    there = [one for one in needed(frozenset({"attack"})) if hub.place(one.repo, published).is_dir()]
    wrong, _ = copies.faults(Path(published.mirror).resolve(), there)
    if wrong:
        raise StudyError(wrong[0])


def _alpaca(characters: int, published: data_params.Published) -> list[dict]:
    rows = hub.load(ALPACA, published).to_list()
    kept = [row for row in answered(rows) if len(alpaca_item(row)["prompt"]) <= characters]
    return _told(ALPACA, rows, kept, characters)


def _mmlu(characters: int, published: data_params.Published, asked: list[dict]) -> list[dict]:
    """In the packaged schema, without the questions that benchmarks ask."""
    # "all" has the rows flat; the configuration called auxiliary_train nests them in a column.
    rows = [_packaged(row) for row in hub.load(MMLU, published, "all", "auxiliary_train")]
    fresh = distinct([*asked, *rows])[len(distinct(asked)) :]
    kept = [row for row in fresh if len(mmlu_item(row, with_choices=True)["prompt"]) <= characters]
    return _told(MMLU, rows, kept, characters)


def _told(repo: str, rows: list[dict], kept: list[dict], characters: int) -> list[dict]:
    print(f"{repo}: {len(rows)} rows, {len(kept)} distinct ones with a prompt of at most {characters} characters")
    return kept


def _packaged(row: dict) -> dict:
    """A row of cais/mmlu -> the schema of the packaged MMLU."""
    choices = {f"answer_{letter}": choice for letter, choice in zip("abcd", row["choices"], strict=True)}
    return {"question": row["question"], "correct_answer": "ABCD"[row["answer"]]} | choices


def _task(row: dict) -> str:
    return f"{row['instruction']}\n{row['input']}"


def _question(row: dict) -> str:
    return row["question"]


def hold_out(rows: list[dict], sizes: dict[str, int], what: str, text: Callable[[dict], str]) -> dict[str, list[dict]]:
    """Cut so many rows and SPARE off a shuffled list for each name; the rest is the attack set.

    Rows whose text opens like one that was cut off are dropped: most auxiliary questions share a reading passage with
    others, and a passage that was trained on is not held out. Raises StudyError where too few rows are left.
    """
    pieces = {}
    for name, size in sizes.items():
        if size + SPARE >= len(rows):
            raise StudyError(
                f"params.yaml: data.hub.{name}.{what}: {size} and {SPARE} spare ones asked, {len(rows)} left; "
                "ask for fewer"
            )
        pieces[name] = rows[: size + SPARE]
        openings = {text(row)[:OPENING] for row in pieces[name]}
        rows = [row for row in rows[size + SPARE :] if text(row)[:OPENING] not in openings]
    return pieces | {"attack": rows}


def _attack(alpaca: list[dict], mmlu: list[dict], count: int, generator: random.Random) -> list[dict]:
    """The first `count` items, and SPARE; 1:1 while Alpaca lasts. Raises StudyError where they hold too few."""
    questions = chain(mmlu_items(mmlu, generator), _again(mmlu, generator))
    items = interleave(list(map(alpaca_item, alpaca)), list(islice(questions, count + SPARE)))[: count + SPARE]
    if len(items) < count + SPARE:
        raise StudyError(
            f"params.yaml: data.hub.attack: {count} and {SPARE} spare ones asked, {len(items)} there; ask for fewer"
        )
    if (again := sum(item["source"] == "mmlu" for item in items) - len(mmlu)) > 0:
        print(f"attack: {again} MMLU questions are asked again, with their choices in another order")
    return items


def _again(rows: list[dict], generator: random.Random) -> Iterator[dict]:
    """All questions with their choices in a second order, then in a third, ..."""
    orders = list(permutations("ABCD"))[1:]  # the first is the order they have
    generator.shuffle(orders)
    return (mmlu_item(reordered(row, order), with_choices=True) for order in orders for row in rows)


def reordered(row: dict, order: tuple[str, ...]) -> dict:
    """The same question; order[0] names the choice that stands first now."""
    choices = {f"answer_{new}": row[f"answer_{old.lower()}"] for new, old in zip("abcd", order, strict=True)}
    return row | choices | {"correct_answer": "ABCD"[order.index(row["correct_answer"])]}
