"""A monitor of queries: does a window of them read like legitimate customization traffic?

python -m solid_utils.runtime.monitor MODEL FOLDER     FOLDER/monitor.csv

The secure world sees token ids. It counts those of legitimate traffic, takes the mean surprise of a window's tokens
under these counts (nats a token, add-one smoothing), and calls a window strange that lies outside the middle of what
windows of other legitimate traffic have. Legitimate are the texts of notebook 04's domains, one domain a window, as a
customer has one. What it calls strange is measured on texts that it was not set by, and on domains that it never saw.
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
DOMAINS = ("math", "reasoning", "code")
KNOWN, NEW, NATURAL, RANDOM, SINGLE = (
    "known domain",
    "new domain",
    "attack texts",
    "random tokens",
    "single tokens",
)


@dataclass(frozen=True)
class Monitor:
    """surprise: (vocabulary,) nats of each token; a window of `window` queries is strange outside [low, high]."""

    surprise: np.ndarray
    window: int
    low: float
    high: float

    def alarms(self, texts: Texts, draw: np.random.Generator, draws: int = DRAWS) -> float:
        """Share of windows drawn from these texts that are called strange."""
        values = windows(self.surprise, texts, self.window, draw, draws)
        return float(((values < self.low) | (values > self.high)).mean())


def surprises(texts: Iterable[list[int]], vocabulary: int) -> np.ndarray:
    """(vocabulary,) nats: -log of each token's share of these texts, one added to every count."""
    counts = np.ones(vocabulary)
    for ids in texts:
        np.add.at(counts, ids, 1)
    return np.log(counts.sum()) - np.log(counts)


def windows(surprise: np.ndarray, texts: Texts, window: int, draw: np.random.Generator, draws: int) -> np.ndarray:
    """(draws,) mean surprise of the tokens of so many texts, drawn with replacement."""
    sums = np.array([surprise[ids].sum() for ids in texts])
    lengths = np.array([len(ids) for ids in texts])
    chosen = draw.integers(len(texts), size=(draws, window))
    return sums[chosen].sum(1) / lengths[chosen].sum(1)


def fitted(
    domains: Mapping[str, Texts], vocabulary: int, window: int, draw: np.random.Generator, rate: float = RATE
) -> Monitor:
    """Set by the first two of PARTS of each domain's texts; all domains count alike."""
    surprise = surprises((ids for texts in domains.values() for ids in texts[::PARTS]), vocabulary)
    seen = [windows(surprise, texts[1::PARTS], window, draw, DRAWS) for texts in domains.values()]
    low, high = np.quantile(np.concatenate(seen), [rate / 2, 1 - rate / 2])
    return Monitor(surprise, window, float(low), float(high))


def invented(like: Texts, vocabulary: int, draw: np.random.Generator) -> dict[str, Texts]:
    """Queries that no text gives: random tokens, as long as those of `like`; and every token by itself."""
    random = [draw.integers(vocabulary, size=len(ids)).tolist() for ids in like]
    return {RANDOM: random, SINGLE: [[token] for token in range(vocabulary)]}


def measured(
    domains: Mapping[str, Texts], attack: Texts, vocabulary: int, sizes: Iterable[int] = WINDOWS
) -> list[dict]:
    """A row a window size and kind of traffic, columns of schema.MONITOR without the model's own.

    attack: natural texts as a thief draws them. `new domain`: a monitor that was set by the other domains.
    """
    rows = []
    for window in sizes:
        draw = np.random.default_rng(SEED)
        monitor = fitted(domains, vocabulary, window, draw)
        common = {"window": window, "rate": RATE, "windows": DRAWS, "seed": SEED}

        def take(traffic: str, of: str, texts: Texts, own: Monitor, shared: dict = common, draw=draw) -> None:
            alarms = own.alarms(texts, draw)
            rows.append(shared | {"traffic": traffic, "drawn_from": of, "texts": len(texts), "alarms": alarms})

        for name, texts in domains.items():
            take(KNOWN, name, texts[2::PARTS], monitor)
            others = {other: own for other, own in domains.items() if other != name}
            take(NEW, name, texts[2::PARTS], fitted(others, vocabulary, window, draw))
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
