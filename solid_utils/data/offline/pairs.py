"""Pairs of a better and a worse answer: the 300 that LLaMA-Factory carries (dpo_en_demo.json, English)."""

from solid_utils.core.errors import StudyError
from solid_utils.data.offline import near
from solid_utils.data.prompts import alpaca_item

SPEAKERS = {"system": "", "human": "", "gpt": "Answer: "}


def items(rows: list[dict]) -> list[dict]:
    """Items with prompt, chosen and rejected, no near-duplicate among them; says how many were.

    Raises StudyError for a row of another schema.
    """
    found = {}
    for number, row in enumerate(rows, 1):
        try:
            turns = [SPEAKERS[turn["from"]] + turn["value"] for turn in row["conversations"]]
            chosen, rejected = row["chosen"]["value"], row["rejected"]["value"]
            said = bool(chosen.strip())
        except (AttributeError, KeyError, TypeError) as error:
            raise StudyError(
                f"dpo_en_demo.json: row {number}: no pair ({error}); run `dvc repro fetch` again"
            ) from None
        item = alpaca_item({"instruction": "\n\n".join(turns), "input": "", "output": ""})
        del item["answer"]
        if said and chosen != rejected:
            found.setdefault(item["prompt"], item | {"source": "dpo_en_demo", "chosen": chosen, "rejected": rejected})
    kept = near.without_near_duplicates(list(found.values()))
    near.told("dpo_en_demo.json", len(found), len(kept), "near-duplicates of an earlier pair")
    return kept
