"""Problems of reasoning-gym, several kinds at small difficulties, each question once."""

import math
import re

import reasoning_gym

from solid_utils.core.errors import StudyError
from solid_utils.data.prompts import alpaca_item
from solid_utils.settings.domain_params import Reasoning

TRIES = 4  # problems made for one that is wanted: questions repeat
SPARE = 1.1  # problems kept for one that is wanted: some are twins of test problems


def items(wanted: Reasoning) -> list[dict]:
    """As many items of every kind, in turns, so that every piece of the list holds all kinds.

    Raises StudyError for a generator that reasoning-gym does not have, or one that has too few questions.
    """
    each = math.ceil(SPARE * sum(wanted.sizes.values()) / len(wanted.kinds))
    columns = [kind_items(name, options, each, wanted.seed) for name, options in wanted.kinds.items()]
    return [item for turn in zip(*columns, strict=True) for item in turn]


def twin(item: dict) -> tuple:
    """The same of two problems of one kind that differ in the order of their numbers alone: 3 + 5 and 5 + 3.

    Shared runs of words (near.py) say nothing here, as the words of a kind are the same.
    """
    question = item["prompt"].partition("### Instruction:\n")[2]
    return item["source"], tuple(sorted(re.findall(r"\d+|[^\w\s]", question))), item["answer"]


def kind_items(name: str, options: dict, count: int, seed: int) -> list[dict]:
    """`count` items of one kind with distinct questions, in the generator's order."""
    shape = {key: value for key, value in options.items() if key != "make"}
    try:
        made = reasoning_gym.create_dataset(options["make"], seed=seed, size=TRIES * count, **shape)
        answers = {row["question"]: row["answer"] for row in made}  # each is generated here
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise StudyError(f"configs/domains.yaml: kinds.{name}: reasoning-gym refuses it ({error}); mend it") from None
    if len(answers) < count:
        raise StudyError(
            f"configs/domains.yaml: kinds.{name}: {count} problems asked, {len(answers)} differ; ask for fewer, or "
            "raise its difficulty"
        )
    rows = [{"instruction": one, "input": "", "output": answer} for one, answer in list(answers.items())[:count]]
    return [alpaca_item(row) | {"source": name} for row in rows]
