"""A monitor of queries: what it is set to on legitimate traffic, what it calls strange of other traffic."""

import numpy as np
import pytest

from solid_utils.core import schema
from solid_utils.runtime import monitor

VOCABULARY = 200


def texts(low: int, high: int, count: int = 600) -> list[list[int]]:
    """Texts of ten to thirty tokens, the lower the commoner, of one stretch of the vocabulary."""
    draw = np.random.default_rng(low)
    lengths = draw.integers(10, 30, size=count)
    return [(low + draw.integers(high - low, size=(2, length)).min(0)).tolist() for length in lengths]


DOMAINS = {"a": texts(0, 60), "b": texts(30, 90)}


def test_surprise_is_less_the_commoner_a_token_and_finite_for_the_unseen():
    found = monitor.surprises([[1, 1, 1, 2]], 4)
    assert found == pytest.approx(-np.log(np.array([1, 4, 2, 1]) / 8))


def test_a_window_is_the_mean_over_its_tokens_and_not_over_its_texts():
    surprise = np.array([0.0, 1.0])
    found = monitor.windows(surprise, [[1], [0, 0, 0]], 40, np.random.default_rng(1), 2000)
    assert 0.24 < found.mean() < 0.27 and found.shape == (2000,)
    assert set(monitor.windows(surprise, [[1], [0, 0, 0]], 1, np.random.default_rng(1), 50)) == {0.0, 1.0}


def test_what_it_is_set_to_is_what_it_does_and_strange_traffic_stands_out():
    draw = np.random.default_rng(1)
    own = monitor.fitted(DOMAINS, VOCABULARY, 20, draw, rate=0.05)
    pooled = DOMAINS["a"][1::3] + DOMAINS["b"][1::3]
    assert own.alarms(DOMAINS["a"][1::3], draw) + own.alarms(DOMAINS["b"][1::3], draw) == pytest.approx(0.1, abs=0.03)
    strange = monitor.invented(pooled, VOCABULARY, draw)
    assert own.alarms(strange[monitor.RANDOM], draw) == own.alarms(strange[monitor.SINGLE], draw) == 1
    assert [one[0] for one in strange[monitor.SINGLE]] == list(range(VOCABULARY))
    assert list(map(len, strange[monitor.RANDOM])) == list(map(len, pooled))


def test_a_row_for_each_traffic_and_a_new_domain_is_told_from_a_known_one(tmp_path):
    rows = monitor.measured(DOMAINS, texts(100, 190), VOCABULARY, sizes=(1, 30))
    assert rows == monitor.measured(DOMAINS, texts(100, 190), VOCABULARY, sizes=(1, 30)), "one seed, one answer"
    found = {(row["window"], row["traffic"], row["drawn_from"]): row["alarms"] for row in rows}
    assert len(found) == len(rows) == 2 * 7
    assert found[30, monitor.KNOWN, "a"] < 0.1 < 0.9 < found[30, monitor.NATURAL, monitor.NATURAL]
    assert found[30, monitor.NEW, "b"] > 0.9, "set by domain a alone"
    assert found[1, monitor.NATURAL, monitor.NATURAL] <= found[30, monitor.NATURAL, monitor.NATURAL]
    identity = {"model": "m", "revision": "r"}
    schema.write([identity | row for row in rows], schema.MONITOR, tmp_path / "monitor.csv")


def test_the_texts_that_set_it_are_not_those_that_it_is_measured_on():
    """A domain whose last third is another language: a monitor that was set by it would not be surprised."""
    mixed = [text if number % 3 < 2 else [150 + token for token in text] for number, text in enumerate(texts(0, 40))]
    rows = monitor.measured({"mixed": mixed, "b": DOMAINS["b"]}, mixed, VOCABULARY, sizes=(30,))
    assert {row["alarms"] for row in rows if row["drawn_from"] == "mixed"} == {1.0}
