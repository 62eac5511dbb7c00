"""The command for mirrors: what belongs there, and whether it is whole."""

import shutil
from pathlib import Path

import pytest
import yaml

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.data import mirror
from solid_utils.model import hub
from solid_utils.settings import params
from solid_utils.tasks.downloads import EVERYTHING
from tests import mirrors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All nineteen."""
    folder = mirrors.write(tmp_path_factory.mktemp("whole"))
    rows = [mirrors.MAKERS["cais/mmlu"][1](number) for number in range(9)]
    tasks = [{"instruction": f"Do {number}.", "input": "", "output": "done"} for number in range(9)]
    return mirrors.add_attack_sources(folder, tasks, rows)


def command(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["mirror", *arguments])
    mirror.main()


def test_the_list_has_all_downloads(monkeypatch, capsys):
    command(monkeypatch, "list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[*pair] for pair in hub.REVISIONS.items()]
    assert len(lines) == 19 and all(f"MIRROR/{line.split()[0]}" in line for line in lines)
    mmlu = next(line for line in lines if line.startswith("cais/mmlu"))
    assert mmlu.count(",") == 57 and mmlu.endswith("all"), "57 subjects, and where the auxiliary set is"


def test_a_whole_mirror_is_right_and_each_fault_is_a_line(whole, tmp_path, monkeypatch, capsys):
    command(monkeypatch, "check", str(whole))
    assert capsys.readouterr().out.endswith("180 splits of 19 data sets are right\n")
    broken = shutil.copytree(whole, tmp_path / "broken")
    shutil.rmtree(broken / "openai/gsm8k")
    (broken / "baber/piqa/default/train.jsonl").write_text("")
    path = broken / "tatsu-lab/alpaca/default/train.jsonl"
    path.write_text(path.read_text().replace("done", "", 1)[:-9])
    with pytest.raises(StudyError, match=r"alpaca/default/train.jsonl: row 9: cannot be read"):
        command(monkeypatch, "check", str(broken))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"error: {broken}/baber/piqa/default/train.jsonl: an empty file; download it again",
        f"error: {broken}/openai/gsm8k: missing; copy the data set there, or mend published.mirror in params.yaml",
    ]
    with pytest.raises(StudyError, match="published.mirror: .*gone is no folder; name the one that holds the copies"):
        mirror.check(tmp_path / "gone", EVERYTHING)


def test_the_file_says_which_copies_the_settings_read(whole, tmp_path, monkeypatch):
    study = params.load()
    published = study.published.model_copy(update={"mirror": str(tmp_path / "mirror")})
    monkeypatch.setattr(paths, "MIRROR", tmp_path / "mirror.txt")
    monkeypatch.setattr(params, "load", lambda: study)
    mirror.write(paths.MIRROR)
    assert paths.MIRROR.read_text() == mirror.NONE and hub.copies_read(study.published) == ""
    study = study.model_copy(update={"tier": "paper", "published": published})
    shutil.copytree(whole, tmp_path / "mirror")
    mirror.write(paths.MIRROR)
    first = hub.copies_read(published)
    assert len(first.splitlines()) == 57 * 2 + 27 + 11 * 2 + 1, "Table 7 without code"
    assert "legalbench" not in first and "humaneval" not in first
    written = paths.MIRROR.stat().st_mtime_ns
    mirror.write(paths.MIRROR)
    assert paths.MIRROR.stat().st_mtime_ns == written
    text = (tmp_path / "mirror/baber/piqa/default/train.jsonl").read_text()
    (tmp_path / "mirror/baber/piqa/default/train.jsonl").write_text(text.replace("Goal 1", "Goal one"))
    mirror.write(paths.MIRROR)
    changed = set(first.splitlines()) ^ set(hub.copies_read(published).splitlines())
    assert {line.split()[0] for line in changed} == {"baber/piqa"}


def test_stages_that_read_a_mirror_depend_on_the_file():
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    reading = {name for name, stage in stages.items() if str(paths.MIRROR) in stage["deps"]}
    assert reading == {"sets", "baseline", "attack", "customize"}
