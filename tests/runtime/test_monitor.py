"""A monitor of queries: what it is set to on legitimate traffic, what it calls strange of other traffic."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from solid_utils.core import schema
from solid_utils.runtime import monitor

VOCABULARY = 200


def texts(low: int, high: int, count: int = 600) -> list[list[int]]:
    """Texts of ten to thirty tokens, the lower the commoner, of one stretch of the vocabulary."""
    draw = np.random.default_rng(low)
    lengths = draw.integers(10, 30, size=count)
    return [(low + draw.integers(high - low, size=(2, length)).min(0)).tolist() for length in lengths]


DOMAINS = {"a": texts(0, 60), "b": texts(30, 90)}


def test_shares_are_of_all_tokens_and_none_is_zero():
    assert monitor.shares_of([[1, 1, 1, 2]], 4) == pytest.approx(np.array([1, 4, 2, 1]) / 8)


def test_a_window_is_the_mean_over_its_tokens_and_not_over_its_texts():
    shares = np.exp([-1.0, -2.0])
    found, *_ = monitor.windows(shares, [[1], [0, 0, 0]], 40, np.random.default_rng(1), 2000)
    assert 1.24 < found.mean() < 1.27 and found.shape == (2000,)
    one, *_ = monitor.windows(shares, [[1], [0, 0, 0]], 1, np.random.default_rng(1), 50)
    assert set(one) == {1.0, 2.0}


def test_the_divergence_is_scipys():
    shares = monitor.shares_of([[0, 0, 1, 3]], 5)
    tokens = np.array([1, 1, 2, 3])
    own = np.bincount(tokens, minlength=5) / len(tokens)
    assert monitor.divergence(tokens, shares) == pytest.approx(jensenshannon(own, shares) ** 2)
    assert monitor.divergence(np.array([0, 1]), np.array([0.5, 0.5])) == pytest.approx(0)
    assert monitor.divergence(np.array([2]), np.array([0.5, 0.5, 1e-12])) == pytest.approx(np.log(2))


def test_what_is_as_surprising_and_spread_unlike_is_strange():
    """One token alone, of the mean surprise: the first number sees nothing."""
    draw = np.random.default_rng(1)
    own = monitor.fitted(DOMAINS, VOCABULARY, 20, draw)
    surprise = -np.log(own.shares)
    plain = int(np.abs(surprise - (own.low + own.high) / 2).argmin())
    assert own.low < surprise[plain] < own.high
    assert own.alarms([[plain] * 20], draw) == 1


def test_who_hides_keeps_his_texts_in_front_and_is_seen_less():
    legitimate = DOMAINS["a"][::3]
    draw = np.random.default_rng(2)
    made = monitor.hidden(texts(100, 190), legitimate, draw, following=9)
    assert all(long[: len(own)] == own for long, own in zip(made, texts(100, 190), strict=True))
    tail = made[0][len(texts(100, 190)[0]) :]
    assert any(tail[: len(text)] == text for text in legitimate) and len(tail) > 9 * 10
    own = monitor.fitted(DOMAINS, VOCABULARY, 1, draw)
    unbound = dataclasses.replace(own, longest=10**6)
    assert unbound.alarms(made, draw) < own.alarms(texts(100, 190), draw)
    assert own.alarms(made, draw) == 1, "no legitimate query is as long"


def test_who_knows_of_the_length_has_a_legitimate_one(monkeypatch):
    monkeypatch.setattr(monitor, "OWN", 6)
    draw = np.random.default_rng(3)
    legitimate = DOMAINS["a"][::3]
    made = monitor.begun(texts(100, 190), legitimate, draw)
    assert all(query[:6] == mine[:6] for query, mine in zip(made, texts(100, 190), strict=True))
    assert {tuple(query[6:]) for query in made} <= {tuple(text[6:]) for text in legitimate}
    own = monitor.fitted(DOMAINS, VOCABULARY, 20, draw)
    _, _, lengths = monitor.windows(own.shares, made, 20, draw, 500)
    assert (lengths > own.longest).mean() < 0.1
    _, _, mean = monitor.windows(own.shares, [[1], [1, 1, 1]], 40, draw, 500)
    assert 1.9 < mean.mean() < 2.1, "tokens a query, over the window"


def test_what_it_is_set_to_is_what_it_does_and_strange_traffic_stands_out():
    draw = np.random.default_rng(1)
    own = monitor.fitted(DOMAINS, VOCABULARY, 20, draw, rate=0.05)
    pooled = DOMAINS["a"][1::3] + DOMAINS["b"][1::3]
    assert own.alarms(DOMAINS["a"][1::3], draw) + own.alarms(DOMAINS["b"][1::3], draw) == pytest.approx(0.1, abs=0.03)
    strange = monitor.invented(pooled, VOCABULARY, draw)
    assert {own.alarms(strange[name], draw) for name in (monitor.RANDOM, monitor.SINGLE, monitor.PAIRS)} == {1}
    assert {len(one) for one in strange[monitor.PAIRS]} == {2}
    assert [one[0] for one in strange[monitor.SINGLE]] == list(range(VOCABULARY))
    assert list(map(len, strange[monitor.RANDOM])) == list(map(len, pooled))


def test_a_row_for_each_traffic_and_a_new_domain_is_told_from_a_known_one(tmp_path):
    rows = monitor.measured(DOMAINS, texts(100, 190), VOCABULARY, sizes=(1, 30))
    assert rows == monitor.measured(DOMAINS, texts(100, 190), VOCABULARY, sizes=(1, 30)), "one seed, one answer"
    found = {(row["window"], row["traffic"], row["drawn_from"]): row["alarms"] for row in rows}
    assert len(found) == len(rows) == 2 * 12
    assert found[30, monitor.KNOWN, "a"] < 0.1 < 0.9 < found[30, monitor.NATURAL, monitor.NATURAL]
    assert found[30, monitor.NEW, "b"] > 0.9, "set by domain a alone"
    assert found[1, monitor.NATURAL, monitor.NATURAL] <= found[30, monitor.NATURAL, monitor.NATURAL]
    identity = {"model": "m", "revision": "r"}
    schema.write([identity | row for row in rows], schema.MONITOR, tmp_path / "monitor.csv")


def test_the_texts_that_set_it_are_not_those_that_it_is_measured_on():
    """A domain whose last third is another language: a monitor that was set by it would not be surprised."""
    mixed = [text if number % 3 < 2 else [150 + token for token in text] for number, text in enumerate(texts(0, 40))]
    rows = monitor.measured({"mixed": mixed, "b": DOMAINS["b"]}, mixed, VOCABULARY, sizes=(30,))
    plain = [row for row in rows if row["drawn_from"] == "mixed" and row["traffic"] in (monitor.KNOWN, monitor.NEW)]
    assert {row["alarms"] for row in plain} == {1.0}
