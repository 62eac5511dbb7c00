"""Counts over public text: by hand, without an order, and never above what the victim's own tokens allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solid_utils.evaluation import floor
from solid_utils.model.answers import most_likely
from tests.conftest import byte_llama

TEXTS = [[1, 2, 3, 1, 2, 3], [1, 2, 4], [9, 2, 4]]


def test_the_longest_known_context_decides_and_the_lowest_id_of_equals():
    grams = floor.Grams(TEXTS)
    assert grams.predict([1, 2], 2) == 3  # twice 3, once 4
    assert grams.predict([9, 2], 2) == 4
    assert grams.predict([7, 2], 2) == 3  # back-off to 2, after which 3 and 4 stand twice
    assert grams.predict([7], 1) == 2 == grams.predict([], 2)  # back-off to the commonest token


def test_no_text_gives_no_guess():
    with pytest.raises(ValueError, match="no text was counted"):
        floor.Grams([]).predict([1], 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=6), st.randoms())
def test_the_order_of_texts_does_not_matter(texts, random):
    other = list(texts)
    random.shuffle(other)
    assert floor.Grams(texts).best == floor.Grams(other).best


def test_agreement_counts_answer_tokens_only():
    samples = [{"input_ids": [1, 2, 3, 1], "answer_start": 2}, {"input_ids": [1, 2, 4], "answer_start": 1}]
    theirs = [np.array([3, 1]), np.array([2, 3])]
    assert floor.agreement(floor.Grams(TEXTS), samples, theirs, 2) == (1.0, 4)
    # The commonest token is 2: it names one of the four.
    assert floor.agreement(floor.Grams(TEXTS), samples, theirs, 0) == (0.25, 4)


def test_rows_of_a_victim_and_of_its_public_base(tokenizer, monkeypatch):
    samples = [{"id": f"{n}", "input_ids": [5 + n, 6, 7, 8 + n, 9], "answer_start": 2} for n in range(3)]
    monkeypatch.setattr(floor, "public_texts", lambda tokenizer: [[5, 6, 7, 8, 9]])
    victim = byte_llama(0)
    rows = floor.rows(victim, tokenizer, {"evaluation": samples})
    assert [row["predictor"] for row in rows] == list(floor.PREDICTORS) and {row["n"] for row in rows} == {9}
    same = floor.rows(victim, tokenizer, {"evaluation": samples}, byte_llama(0))[-1]
    assert (same["predictor"], same["agreement"], same["n"]) == (floor.PUBLIC_BASE, 1.0, 9)
    base = byte_llama(1)
    other = floor.rows(victim, tokenizer, {"evaluation": samples}, base)[-1]
    pairs = zip(most_likely(victim, samples, 0), most_likely(base, samples, 0), strict=True)
    assert other["agreement"] == pytest.approx(np.mean([a == b for one, two in pairs for a, b in zip(one, two)]))  # noqa: B905
