"""MT-Bench with a judge of our own: a command that counts."""

import json
import math
import sys

import numpy as np
import pytest

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.evaluation import lean
from solid_utils.evaluation.mt_bench import _row, mt_bench
from solid_utils.settings import data_params
from tests import mirrors
from tests.conftest import byte_llama

JUDGE = """import json, sys
for line in sys.stdin:
    talk = json.loads(line)
    open({seen!r}, "a").write(line)
    print(1 + talk["id"] % 10)
"""


@pytest.fixture
def settings(tmp_path):
    """With the questions and a judge; what the judge reads is kept in `seen`."""
    (tmp_path / "judge.py").write_text(JUDGE.format(seen=str(tmp_path / "seen")))
    return published(
        mirrors.write(tmp_path, ["HuggingFaceH4/mt_bench_prompts"]), f"{sys.executable} {tmp_path}/judge.py"
    )


def published(mirror, judge) -> data_params.Published:
    return data_params.Published(mirror=str(mirror), judge=judge)


@pytest.fixture
def asked(monkeypatch):
    """Prompts; the answer to the n-th of a turn is n."""
    prompts = []

    def answers(_, requests):
        prompts.append([request.args[0] for request in requests])
        return [f" {number} " for number in range(len(requests))]

    monkeypatch.setattr(lean.LeanLM, "generate_until", answers)
    return prompts


def test_two_turns_are_generated_and_rated(settings, asked, tokenizer, tmp_path):
    scored = mt_bench(byte_llama(0), tokenizer, settings, limit=3)
    assert asked[0] == [f"USER: Write {n}.\nASSISTANT:" for n in range(3)]
    assert asked[1] == [f"USER: Write {n}.\nASSISTANT: {n}\nUSER: Shorter.\nASSISTANT:" for n in range(3)]
    talks = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [talk["answers"] for talk in talks] == [["0", "0"], ["1", "1"], ["2", "2"]]
    (row,) = scored.rows
    assert (row["benchmark"], row["domain"], row["value"], row["n"]) == ("MT-Bench", "Alignment", 2.0, 3)
    assert row["stderr"] == pytest.approx(1 / 3**0.5)
    assert sorted(row) == sorted(schema.OUTCOME)
    assert [item["value"] for item in scored.items] == [1, 2, 3]


def test_a_chat_template_is_used(settings, asked, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
    mt_bench(byte_llama(0), tokenizer, settings, limit=1)
    assert asked == [["<user>Write 0."], ["<user>Write 0.<assistant>0<user>Shorter."]]


def test_without_a_judge_nothing_is_generated(settings, asked, tokenizer, capsys):
    scored = mt_bench(byte_llama(0), tokenizer, published(settings.mirror, None))
    assert (scored.rows, scored.items, asked) == ([], [], [])
    assert capsys.readouterr().out == (
        "MT-Bench: skipped, because no judge is set; published.judge in params.yaml names one\n"
    )


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("no-such-judge", "'no-such-judge' failed"),
        ("false", "'false' failed"),
        ("echo good", "'echo good' failed .*could not convert"),
        ("echo 5", "a rating from 1 to 10 for each of 2 conversations, gave 1 lines"),
        ("printf '5\\n11\\n'", "a rating from 1 to 10"),
    ],
)
def test_a_bad_judge_gets_one_line(settings, asked, tokenizer, judge, message):
    with pytest.raises(StudyError, match=message):
        mt_bench(byte_llama(0), tokenizer, published(settings.mirror, judge), limit=2)


def test_missing_questions_get_one_line(tmp_path, tokenizer):
    with pytest.raises(StudyError, match=r"mt_bench_prompts: not to be had .*published.mirror"):
        mt_bench(byte_llama(0), tokenizer, published(tmp_path, "judge"))


def test_the_error_of_a_single_rating_is_unknown():
    row = _row(np.array([7.0]))
    assert (row["value"], row["n"]) == (7.0, 1) and math.isnan(row["stderr"])
