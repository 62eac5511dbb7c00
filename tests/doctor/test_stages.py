"""Stages side by side: each after those it waits for, two at a time, one line where one fails."""

import stat
import sys
import textwrap
from pathlib import Path

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.doctor import stages

# A DVC that writes down what it is asked: each stage takes a little while, `dag` prints a graph as DVC does.
DVC = """\
    #!/bin/sh
    case "$1 $3" in
      "dag ") cat <<'GRAPH'
    strict digraph {
    "data.dvc";
    "theory";
    "sets";
    "attack@tiny-a";
    "attack@tiny-b";
    "attack@tiny-c";
    "tables";
    "data.dvc" -> "theory";
    "data.dvc" -> "sets";
    "sets" -> "attack@tiny-a";
    "sets" -> "attack@tiny-b";
    "sets" -> "attack@tiny-c";
    "theory" -> "tables";
    "attack@tiny-a" -> "tables";
    "attack@tiny-b" -> "tables";
    "attack@tiny-c" -> "tables";
    }
    GRAPH
      ;;
      *)
        echo "begins $3" >> said
        sleep 0.3
        {case}
        echo "ends $3" >> said
      ;;
    esac
"""
LOCK = (
    """if [ "$3" = sets ] && [ ! -e once ]; then touch once; echo "ERROR: Unable to acquire lock. Most"; exit 255; fi"""
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def fake(folder: Path, case: str = ":") -> None:
    path = folder.parent / "bin" / "dvc"
    path.parent.mkdir()
    path.write_text(textwrap.dedent(DVC).replace("{case}", case))
    path.chmod(stat.S_IRWXU)


def said(folder: Path) -> list[str]:
    return (folder / "said").read_text().splitlines()


def test_what_waits_for_nothing_left_runs_side_by_side(folder):
    fake(folder)
    stages.run(folder)
    lines = said(folder)
    at = {line: lines.index(line) for line in lines}
    assert len(lines) == len(at) == 16
    for before, after in (
        ("data.dvc", "sets"),
        ("data.dvc", "theory"),
        ("sets", "attack@tiny-a"),
        ("theory", "tables"),
    ):
        assert at[f"ends {before}"] < at[f"begins {after}"]
    assert max(at["begins sets"], at["begins theory"]) < min(at["ends sets"], at["ends theory"]), "one after the other"
    running = [sum(line.startswith("begins") or -1 for line in lines[: end + 1]) for end in range(len(lines))]
    assert max(running) == stages.AT_ONCE
    assert lines[-4:] == ["begins tables", "ends tables", "begins ", "ends "], "at last the whole study is asked for"


def test_what_most_stages_wait_for_begins_first(folder, monkeypatch):
    monkeypatch.setattr(stages, "AT_ONCE", 1)
    fake(folder)
    stages.run(folder)
    lines = said(folder)
    assert lines.index("begins sets") < lines.index("begins theory")


def test_a_held_lock_is_tried_again_and_no_other_error(folder):
    fake(folder, LOCK)
    stages.run(folder)
    assert said(folder).count("begins sets") == 2 and said(folder).count("ends sets") == 1
    assert said(folder).count("begins tables") == 1


@pytest.mark.parametrize(
    "words, reason",
    [("error: params.yaml: x: wrong; mend it", "error: params.yaml: x: wrong; mend it"), ("a\\nb", "a / b")],
)
def test_a_stage_that_fails_is_one_line_and_nothing_begins_after_it(folder, words, reason):
    fails = f"""if [ "$3" = attack@tiny-a ]; then printf '{words}\\n'; exit 1; fi"""
    fake(folder, fails + """; [ "$3" != attack@tiny-b ] || sleep 1""")  # what runs beside it ends well after it
    with pytest.raises(StudyError) as error:
        stages.run(folder)
    assert reason in str(error.value) and "\n" not in str(error.value)
    lines = said(folder)
    begun, ended = ([line.split()[1] for line in lines if line.startswith(word)] for word in ("begins", "ends"))
    assert begun.count("attack@tiny-a") == 1 and {*begun} - {*ended} == {"attack@tiny-a"}, "what ran beside it is lost"
    assert "attack@tiny-c" not in begun and "tables" not in begun


def test_a_graph_that_cannot_be_read_is_one_line(folder):
    fake(folder)
    path = folder.parent / "bin" / "dvc"
    path.write_text("#!/bin/sh\necho 'ERROR: dvc.yaml is invalid.'\nexit 255\n")
    with pytest.raises(StudyError, match="dvc.yaml is invalid"):
        stages.run(folder)
