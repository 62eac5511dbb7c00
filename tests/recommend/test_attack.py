"""The command with its attack, on a tiny random model."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.recommend import attack, outcome, recommend
from solid_utils.recommend.texts import STUDY
from tests.recommend.conftest import TEXTS
from tests.recommend.test_recommend import section

LINES = [{"prompt": f"{number} + 1 = ", "answer": f"It is {number + 1}, in Rome."} for number in range(30)]


@pytest.fixture(autouse=True)
def more_texts(folder):
    first = [{"prompt": prompt, "answer": answer} for prompt, answer in TEXTS]
    repeated = [{"prompt": TEXTS[0][0], "answer": "Red is one."}]  # a prompt that is scored
    Path("texts.jsonl").write_text("\n".join(map(json.dumps, first + repeated + LINES)))


def run(*options: str) -> int:
    usual = ["--model", "mine", "--data", "texts.jsonl", "--samples", "4", "--seeds", "20", "--memory", "2GB"]
    return recommend.main([*usual, "--card", "card.md", "--queries", "20", *options])


def test_the_card_has_a_measured_attack_with_json_and_a_chart(capsys):
    status = run()
    text, found, said = Path("card.md").read_text(), outcome.read(Path("card.json")), capsys.readouterr().out
    assert (
        said.index("plan: ")
        < said.index("attack: a linear map for bottom 1, bottom 2, bottom 4")
        < said.index("all: DD")
    )
    assert status == found.exit_status == outcome.STATUS[found.verdict]
    assert said.endswith(f"{found.recommended.secured}: {found.verdict}; exit status {status}\n")
    part = section(text, "Measured attack")
    assert part.startswith("A thief asks 20 texts once") and "texts.jsonl, lines that are not scored" in part
    for one in found.attack.prefixes:
        assert f"| {one.secured}" in part and f"{one.agreement.value:.1%} [" in part
    assert f"**Recommended: {found.recommended.secured}**" in text and "Attacked with one linear map" in text
    (mine,) = (one for one in found.attack.prefixes if one.secured == found.recommended.secured)
    score = section(text, "Score")
    assert f"KL with one linear map in place of {mine.secured}, {mine.kl.value:.2f} [" in score
    assert "below under *The run*" in score
    assert re.search(r"work +[\d.]+ \wFLOP, [\d.]+ \wFLOP in float64", section(text, "The run"))
    assert "### What to do" in part and "](card.png)" in part
    assert Path("card.png").read_bytes().startswith(b"\x89PNG")
    assert "\nattack: a linear map" in section(text, "The run")
    assert not list((paths.STATE / "recommend").iterdir())


def test_streamed_and_in_memory_attack_the_same():
    made = []
    for stream in ("always", "never"):
        run("--stream", stream, "--dtype", "float32")
        made.append(json.loads(Path("card.json").read_text())["attack"])
    assert made[0] == made[1]


def test_a_threshold_of_ones_own_decides_the_status():
    assert run("--hold-below", "1", "--dtype", "float32") == 0
    found = outcome.read(Path("card.json")).attack
    assert found.hold_below == found.broken_above == 1


def test_no_text_is_both_asked_and_scored(monkeypatch):
    seen = {}

    def caught(source, start, plan, asked, samples, *_):
        seen.update(asked=asked, samples=samples)
        raise KeyboardInterrupt

    monkeypatch.setattr(attack, "run", caught)
    with pytest.raises(KeyboardInterrupt):
        run("--queries", "1000")
    asked = {sample["id"] for sample in seen["asked"].samples}
    assert len(asked) == len(seen["asked"].public) == 30  # all lines but those scored and the one with such a prompt
    assert asked.isdisjoint(sample["id"] for sample in seen["samples"])


def test_too_few_lines_and_no_attack_set_is_one_line(folder):
    rows = [{"id": f"a{number}", "source": "alpaca", **line} for number, line in enumerate(LINES)]
    Path("texts.jsonl").write_text("\n".join(json.dumps({"prompt": p, "answer": a}) for p, a in TEXTS))
    with pytest.raises(StudyError, match="--data texts.jsonl: 0 lines besides those scored, the attack asks") as error:
        run()
    assert "\n" not in str(error.value) and not Path("card.md").exists()
    sets = Path(paths.SETS)
    sets.mkdir(parents=True)
    (sets / "attack.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run()
    assert outcome.read(Path("card.json")).attack.asked == STUDY


def test_a_run_killed_after_the_attack_does_not_attack_again(monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(recommend, "card", dies)
        run()
    (kept,) = (paths.STATE / "recommend").rglob("attack-*.json")
    assert json.loads(kept.read_text())["likeliest"] == []  # the texts themselves, nearly
    with monkeypatch.context() as cut:
        cut.setattr(attack, "PrefixAttack", dies)
        run()
    assert outcome.read(Path("card.json")).attack.queries == 20


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--hold-below", "0"], "--hold-below, --queries: write a share above 0"),
        (["--queries", "3"], "at least 18 texts"),
        (["--card", "card.json"], "--card card.json: .json and .png files are written beside the card"),
    ],
)
def test_what_the_user_can_mend_gets_one_line(options, line):
    with pytest.raises(StudyError) as error:
        run(*options)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_the_status_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(recommend, "main", lambda: 3)
    with pytest.raises(SystemExit) as ended:
        recommend.command()
    assert ended.value.code == 3
    monkeypatch.setattr(recommend, "main", lambda: 0)
    recommend.command()


def test_the_validator_is_a_command_of_its_own():
    done = subprocess.run(
        [sys.executable, "-m", "solid_utils.recommend.outcome", "gone.json"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error: gone.json")
