"""The lab folder: settings of its own, made whole or not at all, only where the study has no victim."""

import shutil
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.course import lab
from solid_utils.doctor import settings
from solid_utils.model import models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The settings of a clone in which nothing ran; filling the folder is written down instead of done."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    filled = []
    monkeypatch.setattr(lab, "fill", lambda raw: filled.append((Path.cwd(), raw)))
    return filled


def test_made_once_for_the_same_settings(tree, capsys):
    lab.main()
    assert "no victim smollm2-135m here" in capsys.readouterr().out
    ((inside, raw),) = tree
    assert raw == Path("data").absolute() and inside.parent == paths.LAB.parent.absolute()
    study = settings.load(paths.LAB / "params.yaml")
    assert (study.tier, study.study.models, study.threads) == ("tiny", ["tiny"], 1)
    assert (paths.LAB / paths.LAB_MARK).read_text()
    lab.main()
    assert len(tree) == 1
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 42", "seed: 43"))
    lab.main()
    assert len(tree) == 2 and settings.load(paths.LAB / "params.yaml").data.seed == 43
    assert {path.name for path in Path().iterdir()} == {"build", "configs", "params.yaml"}, "nothing among the study's"


def test_not_where_the_study_has_its_victim(tree, capsys):
    folder = models.victim_folder("smollm2-135m")
    folder.mkdir(parents=True)
    (folder / "source.json").write_text("{}")
    lab.main()
    assert not tree and not paths.LAB.exists() and not capsys.readouterr().out


def test_a_half_made_folder_does_not_stay(tree, monkeypatch):
    def broken(raw):
        raise StudyError("sets: broken; mend it")

    monkeypatch.setattr(lab, "fill", broken)
    with pytest.raises(StudyError, match="broken"):
        lab.main()
    assert not list(paths.LAB.parent.iterdir()) and Path.cwd() == Path("params.yaml").absolute().parent


def test_the_folder_is_filled_by_what_the_stages_call(monkeypatch):
    """Each with the arguments that it asks for: a label without its study ended `make lab`, and no test knew."""
    monkeypatch.chdir(ROOT)
    called = []
    parts = {lab.sets: "write_sets", lab.models: "materialise", lab.oracle: "label", lab.baseline: "measure"}
    for module, name in (*parts.items(), (lab, "search"), (lab, "raw_data")):
        strict = create_autospec(getattr(module, name), side_effect=lambda *_, name=name: called.append(name))
        monkeypatch.setattr(module, name, strict)
    lab.fill(Path("data"))
    assert called == ["raw_data", *parts.values(), "search"]
