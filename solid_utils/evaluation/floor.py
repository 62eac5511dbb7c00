"""A floor for agreement: how often the victim's next token is guessed by counts over public text, with no query.

Agreement is high where text is predictable. A replica below what a table of trigrams reaches has learnt nothing of the
victim that public text does not tell, however far it is above its own random start.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from solid_utils.model import sampling
from solid_utils.model.answers import most_likely
from solid_utils.model.forward import measuring

MOST_TEXTS = 20_000  # the packaged set has fewer; the hub's 51,000 would hold gigabytes of counters
PREDICTORS = ("constant", "bigram", "trigram")  # contexts of 0, 1 and 2 tokens
PUBLIC_BASE = "public_base"


class Grams:
    """The most frequent next token after 0, 1 or 2 tokens of context, counted on public texts, with back-off."""

    def __init__(self, texts: Iterable[list[int]]):
        """`texts`: token ids. Of equally frequent next tokens the lowest id is taken, so that no order matters."""
        counts: list[Counter] = [Counter(), Counter(), Counter()]
        for ids in texts:
            for size, counter in enumerate(counts):
                # (context, next token), next to each other
                counter.update(zip(*(ids[start:] for start in range(size + 1)), strict=False))
        self.best = [_most_frequent(counter) for counter in counts]

    def predict(self, context: list[int], size: int) -> int:
        """The token after `context`, by at most its last `size` tokens."""
        for length in range(min(size, len(context)), -1, -1):
            known = self.best[length].get(tuple(context[len(context) - length :]))
            if known is not None:
                return known
        raise ValueError("no text was counted")


def _most_frequent(counter: Counter) -> dict[tuple, int]:
    best: dict[tuple, tuple[int, int]] = {}
    for gram, count in counter.items():
        context, key = gram[:-1], (count, -gram[-1])
        if context not in best or key > best[context]:
            best[context] = key
    return {context: -token for context, (_, token) in best.items()}


def agreement(grams: Grams, samples: list[dict], theirs: list[np.ndarray], size: int) -> tuple[float, int]:
    """Share of answer tokens where the counts name the victim's most likely token, and how many tokens there are.

    `theirs`: per sample the victim's most likely token at every answer position (answers.most_likely).
    """
    hits, tokens = 0, 0
    for sample, expected in zip(samples, theirs, strict=True):
        ids, start = sample["input_ids"], sample["answer_start"]
        guesses = [grams.predict(ids[max(0, place - size) : place], size) for place in range(start, len(ids))]
        hits += int((np.array(guesses) == expected).sum())
        tokens += len(guesses)
    return hits / tokens, tokens


def public_texts(tokenizer: PreTrainedTokenizerBase) -> Iterable[list[int]]:
    """The attack set as anyone has it: its prompts with the data set's own answers, as token ids."""
    return tokens(sampling.read_set("attack"), tokenizer)


def tokens(items: list[dict], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Prompts with their answers as token ids, at most MOST_TEXTS of them."""
    return tokenizer([item["prompt"] + item["answer"] for item in items[:MOST_TEXTS]]).input_ids


def rows(
    victim: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: dict[str, list[dict]],
    base: PreTrainedModel | None = None,
) -> list[dict[str, str | float]]:
    """One row a set of held-out texts and predictor: benchmark, predictor, agreement, n (answer tokens).

    `sets` as sampling.held_out has them: what replicas are scored on. `base`: the public model that the victim was
    fine-tuned from, untouched, is the last predictor where there is one.
    """
    grams = Grams(public_texts(tokenizer))
    found = []
    for name, samples in sets.items():
        theirs = likeliest(victim, samples, tokenizer)
        for size, predictor in enumerate(PREDICTORS):
            share, tokens = agreement(grams, samples, theirs, size)
            found.append({"benchmark": name, "predictor": predictor, "agreement": share, "n": tokens})
        if base is not None:
            same = np.concatenate(likeliest(base, samples, tokenizer)) == np.concatenate(theirs)
            row = {"benchmark": name, "predictor": PUBLIC_BASE, "agreement": float(same.mean()), "n": len(same)}
            found.append(row)
    return found


def likeliest(model: PreTrainedModel, samples: list[dict], tokenizer: PreTrainedTokenizerBase) -> list[np.ndarray]:
    """answers.most_likely of a model in evaluation."""
    with measuring(model):
        return most_likely(model, samples, tokenizer.pad_token_id)
