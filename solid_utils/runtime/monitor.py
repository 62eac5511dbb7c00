"""A monitor of queries: does a window of them read like legitimate customization traffic?

python -m solid_utils.runtime.monitor MODEL FOLDER     FOLDER/monitor.csv

The secure world sees token ids. It counts those of legitimate traffic and measures a window by three numbers: the mean
surprise of its tokens under these counts (nats a token, add-one smoothing), how far its own counts are from them
(Jensen-Shannon divergence, nats), and tokens a query. Strange is a window where one lies outside what windows of other
legitimate traffic have. Legitimate are the texts of notebook 04's domains, one domain a window, as a customer has one.
What it calls strange is measured on texts that it was not set by, on domains that it never saw, and on thieves: two
know of the monitor and let legitimate text follow their own in one query, which leaves their states as they are, since
no token of a causal model looks ahead. One lets nine whole texts follow each of his; the other, who knows of the length
too, puts a few tokens of his own in the place of a legitimate text's first ones.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solid_utils.core import errors, schema
from solid_utils.core.paths import MONITOR_FILE
from solid_utils.model import models, sampling
from solid_utils.settings import params

Texts = list[list[int]]  # token ids
WINDOWS = (1, 10, 100, 400)  # queries of a window
RATE = 0.01  # false alarms that it is set to
DRAWS = 2000  # windows of each kind of traffic
SEED = 42
PARTS = 3  # of each domain's texts: to count, to set the ends, to measure
FOLLOWING = 9  # legitimate texts behind each of a thief's who knows of the monitor
OWN = 16  # tokens of his own in a query of a thief who knows of the length
DOMAINS = ("math", "reasoning", "code")
KNOWN, NEW, NATURAL, HIDDEN, BEGUN, RANDOM, SINGLE, PAIRS = (
    "known domain",
    "new domain",
    "attack texts",
    "attack texts, legitimate ones behind",
    "few tokens of attack texts, legitimate ones behind",
    "random tokens",
    "single tokens",
    "pairs of tokens",
)


@dataclass(frozen=True)
class Monitor:
    """shares: (vocabulary,) of legitimate tokens; a window of `window` queries is strange with a mean surprise outside
    [low, high], a divergence above `most`, or more than `longest` tokens a query."""

    shares: np.ndarray
    window: int
    low: float
    high: float
    most: float
    longest: float

    def alarms(self, texts: Texts, draw: np.random.Generator, draws: int = DRAWS) -> float:
        """Share of windows drawn from these texts that are called strange."""
        surprise, apart, length = windows(self.shares, texts, self.window, draw, draws)
        strange = (surprise < self.low) | (surprise > self.high) | (apart > self.most) | (length > self.longest)
        return float(strange.mean())


def shares_of(texts: Iterable[list[int]], vocabulary: int) -> np.ndarray:
    """(vocabulary,) each token's share of these texts, one added to every count."""
    counts = np.ones(vocabulary)
    for ids in texts:
        np.add.at(counts, ids, 1)
    return counts / counts.sum()


def windows(
    shares: np.ndarray, texts: Texts, window: int, draw: np.random.Generator, draws: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of so many texts, drawn with replacement: mean surprise of their tokens, divergence, tokens a text; (draws,)
    each."""
    known = [np.asarray(ids) for ids in texts]
    surprise = -np.log(shares)
    found = np.empty((3, draws))
    for number, chosen in enumerate(draw.integers(len(known), size=(draws, window))):
        tokens = np.concatenate([known[index] for index in chosen])
        found[:, number] = surprise[tokens].mean(), divergence(tokens, shares), len(tokens) / window
    return found[0], found[1], found[2]


def divergence(tokens: np.ndarray, shares: np.ndarray) -> float:
    """Jensen-Shannon divergence of these tokens' own shares from `shares`, none of them 0; nats, at most ln 2."""
    seen, counts = np.unique(tokens, return_counts=True)
    own, theirs = counts / len(tokens), shares[seen]
    middle = (own + theirs) / 2
    unseen = (1 - theirs.sum()) * np.log(2)
    return float((own * np.log(own / middle)).sum() + (theirs * np.log(theirs / middle)).sum() + unseen) / 2


def fitted(
    domains: Mapping[str, Texts],
    vocabulary: int,
    window: int,
    draw: np.random.Generator,
    rate: float = RATE,
) -> Monitor:
    """Set by the first two of PARTS of each domain's texts; all domains count alike, and a third of the rate goes to
    each of the three numbers."""
    shares = shares_of((ids for texts in domains.values() for ids in texts[::PARTS]), vocabulary)
    seen = [windows(shares, texts[1::PARTS], window, draw, DRAWS) for texts in domains.values()]
    surprise, apart, length = (np.concatenate(values) for values in zip(*seen, strict=True))
    low, high = np.quantile(surprise, [rate / 6, 1 - rate / 6])
    most, longest = (float(np.quantile(values, 1 - rate / 3)) for values in (apart, length))
    return Monitor(shares, window, float(low), float(high), most, longest)


def hidden(attack: Texts, legitimate: Texts, draw: np.random.Generator, following: int = FOLLOWING) -> Texts:
    """Each of a thief's texts with so many legitimate ones, drawn with replacement, behind it."""
    behind = draw.integers(len(legitimate), size=(len(attack), following))
    made = []
    for own, mine in zip(attack, behind, strict=True):
        made.append(own + [token for index in mine for token in legitimate[index]])
    return made


def begun(attack: Texts, legitimate: Texts, draw: np.random.Generator) -> Texts:
    """Legitimate texts, drawn with replacement, each with the first OWN tokens of a thief's in place of its own."""
    behind = draw.integers(len(legitimate), size=len(attack))
    return [own[:OWN] + legitimate[index][OWN:] for own, index in zip(attack, behind, strict=True)]


def invented(like: Texts, vocabulary: int, draw: np.random.Generator) -> dict[str, Texts]:
    """Queries that no text gives: random tokens, as long as those of `like`; every token by itself; as many pairs."""
    random = [draw.integers(vocabulary, size=len(ids)).tolist() for ids in like]
    pairs = draw.integers(vocabulary, size=(vocabulary, 2)).tolist()
    return {RANDOM: random, SINGLE: [[token] for token in range(vocabulary)], PAIRS: pairs}


def measured(
    domains: Mapping[str, Texts], attack: Texts, vocabulary: int, sizes: Iterable[int] = WINDOWS
) -> list[dict]:
    """A row a window size and kind of traffic, columns of schema.MONITOR without the model's own.

    attack: natural texts as a thief draws them. `new domain`: a monitor that was set by the other domains. Who hides
    his texts has each domain's first ones, as its customer.
    """
    rows = []
    for window in sizes:
        draw = np.random.default_rng(SEED)
        monitor = fitted(domains, vocabulary, window, draw)
        common = {"window": window, "rate": RATE, "windows": DRAWS, "seed": SEED}

        def take(traffic: str, of: str, texts: Texts, own: Monitor, shared: dict = common, draw=draw) -> None:
            alarms = own.alarms(texts, draw)
            about = {"traffic": traffic, "drawn_from": of, "texts": len(texts), "tokens": sum(map(len, texts))}
            rows.append(shared | about | {"alarms": alarms})

        for name, texts in domains.items():
            take(KNOWN, name, texts[2::PARTS], monitor)
            others = {other: own for other, own in domains.items() if other != name}
            take(NEW, name, texts[2::PARTS], fitted(others, vocabulary, window, draw))
            take(HIDDEN, name, hidden(attack, texts[::PARTS], draw), monitor)
            take(BEGUN, name, begun(attack, texts[::PARTS], draw), monitor)
        for name, texts in {NATURAL: attack, **invented(attack, vocabulary, draw)}.items():
            take(name, name, texts, monitor)
    return rows


def command() -> None:
    """Measure the monitor with one model's tokenizer, and write what came out."""
    parser = argparse.ArgumentParser(prog="solid_utils.runtime.monitor", description="Is query traffic legitimate?")
    parser.add_argument("model", help="a section of configs/models.yaml")
    parser.add_argument("folder", type=Path, help=f"where {MONITOR_FILE} is written")
    parser.add_argument("--texts", type=int, default=3200, help="of the attack set")
    wanted = parser.parse_args()
    with errors.one_line():
        study = params.load()
        victim, tokenizer, revision = models.load_victim(wanted.model, study.model(wanted.model))
        length = study.budgets(wanted.model).length
        domains = {}
        for name in DOMAINS:
            encoded = sampling.encode(sampling.read_set(f"{name}_train"), tokenizer, length)
            domains[name] = [sample["input_ids"] for sample in encoded]
        attack = [sample["input_ids"] for sample in sampling.texts("attack", tokenizer, length, wanted.texts)]
        rows = measured(domains, attack, victim.config.get_text_config().vocab_size)
        identity = {"model": wanted.model, "revision": revision}
        schema.write([identity | row for row in rows], schema.MONITOR, wanted.folder / MONITOR_FILE)


if __name__ == "__main__":
    command()
