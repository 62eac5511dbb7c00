"""From counts, text by text, to estimates, verdicts, advice, chart and JSON."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.recommend import advice, chart, measured, outcome
from solid_utils.recommend.outcome import STATUS, Estimate, Outcome
from solid_utils.recommend.prefix_attack import Measured, TextScores
from solid_utils.recommend.texts import Asked

TEXTS, TOKENS = 40, 20


def scores(hits: list[int], kl: float = 2.0) -> TextScores:
    return TextScores([TOKENS] * TEXTS, hits, [kl * TOKENS] * TEXTS)


def secured(layers: int) -> SecuredSet:
    return SecuredSet(f"bottom {layers}", (), tuple(range(layers)), True, 100 * layers, 1000)


def attacked(hits: dict[int, int | None], hold_below: float = 0.10):
    """An attack that agrees on so many of 20 tokens of every text, but for one more on every second; none measured."""
    after = {layers: scores([n + one % 2 for one in range(TEXTS)]) for layers, n in hits.items() if n is not None}
    found = Measured({layers: scores([1] * TEXTS, 9.0) for layers in hits}, after, dict.fromkeys(after, (0.1, 2)))
    # The victim says token 7 after everything; public text says so after 5 only, which is a third of the places.
    samples = [{"input_ids": [9] + [5, 6, 6, 5] * (TOKENS // 4), "answer_start": 1} for _ in range(TEXTS)]
    asked = Asked([{"input_ids": [1, 2, 3]}] * 100, [[5, 7], [6, 8], [9, 8]], "a <file>")
    found.floor = measured.floor_hits(asked.public, samples, [[7] * TOKENS for _ in range(TEXTS)])
    return measured.attack(found, [secured(layers) for layers in hits], asked, hold_below, 42)


def whole(hits: dict[int, int | None], layers: int = 1) -> Outcome:
    found = attacked(hits)
    judged = next(one.verdict for one in found.prefixes if one.layers == layers)
    chosen = {"secured": f"bottom {layers}", "layers": layers, "parameters": 100 * layers, "share": layers / 10}
    rest = {"schema_version": "1", "model": "mine", "sha256": "ab", "dtype": "float32", "dd": 5.0, "ceiling": 6.0}
    return Outcome(**rest, epsilon=0.05, recommended=chosen, attack=found, verdict=judged, exit_status=STATUS[judged])


def test_estimates_are_what_they_are_defined_as():
    found = attacked({1: 15})
    # 9, then 5 6 6 5 five times: the token before an answer token is 5 at ten of twenty places, less the last one.
    assert found.floor_by == "bigram" and found.floor.value == pytest.approx(9 / 20)
    one = found.prefixes[0]
    assert one.agreement.value == pytest.approx(15.5 / 20) and one.zero_query.value == pytest.approx(1 / 20)
    assert one.above_floor.value == pytest.approx((15.5 / 20 - 9 / 20) / (11 / 20))
    assert one.kl == Estimate(value=2, low=2, high=2) and one.zero_query_kl.value == 9
    assert one.agreement.low < one.agreement.value < one.agreement.high
    # Half of the texts have 15, half 16: the standard error over texts, twice, is about the half-width.
    assert one.agreement.high - one.agreement.value == pytest.approx(2 * 0.5 / 20 / np.sqrt(TEXTS), rel=0.15)


def test_verdicts_follow_the_interval_and_not_the_estimate():
    def judged(low, high):
        return measured.verdict(Estimate(value=(low + high) / 2, low=low, high=high), 0.10, 0.25)

    assert [judged(0, 0.09), judged(0.05, 0.11), judged(0.24, 0.5), judged(0.26, 0.5)] == [
        *("holds", "undecided", "undecided", "broken")
    ]
    assert measured.verdict(Estimate(value=0.9, low=None, high=None), 0.10, 0.25) == "undecided"


def test_one_text_has_no_interval():
    texts = measured.Texts([10])
    assert texts.estimate(texts.share([5])) == Estimate(value=0.5, low=None, high=None)


def test_where_counts_say_it_all_nothing_is_left_to_recover():
    texts = measured.Texts([10, 10])
    found = measured.attacked(TextScores([10, 10], [10, 10], [0.0, 0.0]), texts, np.ones(1 + measured.TIMES))
    assert found["above_floor"] == Estimate(value=0, low=0, high=0)


@pytest.mark.parametrize(
    ("hits", "layers", "verdict", "words"),
    [
        ({1: 15, 2: 12}, 1, "broken", "Every prefix that was tried fell, up to bottom 2 (20.0% of the model)"),
        ({1: 15, 2: 8}, 1, "broken", "bottom 2 (20.0% of the model) is the smallest set here that held"),
        ({1: 8, 2: 8}, 1, "holds", "bottom 1 held against this attack"),
        ({1: 11}, 1, "undecided", "bottom 1: the interval does not decide"),
        ({1: None}, 1, "not measured", "Nothing was measured"),
        ({1: 15, 2: None}, 2, "not measured", "bottom 2 could not be attacked this way"),
    ],
)
def test_what_to_do_follows_from_the_verdicts(hits, layers, verdict, words):
    found = whole(hits, layers)
    assert found.verdict == verdict and found.exit_status == {"holds": 0, "broken": 3}.get(verdict, 4)
    text = advice.section(found, "card.png", "a file")
    assert words in text and "](card.png)" in text and "(recommended)" in text
    assert ("Secure the whole model" in text) == ("fell" in words or (verdict == "undecided") or layers == 2)


def keys(schema: type) -> set[str]:
    """The names of a section and of those inside it, estimates left out."""
    inside = (outcome.Secured, outcome.Prefix, outcome.Attack)
    below = [one for one in inside for field in schema.model_fields.values() if one.__name__ in repr(field.annotation)]
    return set(schema.model_fields).union(*map(keys, below))


def test_the_page_names_every_key_and_no_other():
    page = (Path(__file__).parents[2] / "docs/templates/own_model.md").read_text()
    table = page.split("| key | what it is |")[1].split("\n\n")[0]
    named = {name.removeprefix("attack.") for name in re.findall(r"`([a-z0-9_.]+)`", table)}
    assert named - set(STATUS) == keys(Outcome) and {"verdict", "queries", "share"} <= named


def test_the_limits_are_those_of_the_study():
    raw = yaml.safe_load((Path(__file__).parents[2] / "configs/hypotheses.yaml").read_text())
    limits = raw["hypotheses"]["H1"]["threshold"]
    assert (limits["supported_below"], limits["falsified_above"]) == (measured.HOLD_BELOW, measured.BROKEN_ABOVE)


def test_json_goes_and_comes_back_and_a_wrong_key_is_one_line(tmp_path, capsys):
    path = tmp_path / "card.json"
    outcome.write(found := whole({1: 15, 2: None}), path)
    assert outcome.read(path) == found
    outcome.main([str(path)])
    assert capsys.readouterr().out == f"{path}: mine: bottom 1: broken\n"
    raw = json.loads(path.read_text())
    assert raw["attack"]["prefixes"][1]["agreement"] is None and raw["exit_status"] == 3
    raw["attack"]["prefixes"][0]["share"] = "most"
    path.write_text(json.dumps(raw))
    with pytest.raises(StudyError, match=r"card.json: attack.prefixes.0.share: .*given 'most'"):
        outcome.read(path)


def test_the_chart_shows_every_prefix_and_is_the_same_bytes_each_time(tmp_path):
    found = whole({1: 15, 2: 12, 4: None})
    (axes,) = chart.draw(found).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    bars = {container.get_label(): container[0].get_ydata().tolist() for container in axes.containers}
    assert bars["linear map, 100 texts asked"] == [15.5 / 20, 12.5 / 20]
    assert bars["before any query (random layers)"] == [1 / 20] * 3
    assert "public text, no query (bigrams)" in lines and "recommended set" in lines
    for name in ("one.png", "two.png"):
        chart.write(found, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    chart.draw(whole({1: None}))  # nothing to draw of the map
