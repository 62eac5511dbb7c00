"""A victim that is not there: an error as ever, but in a lab that names its folder the tiny model, said in one line."""

import json
from pathlib import Path

import pytest

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.model import models, stand_in
from solid_utils.settings import params

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / paths.LAB_MARK).write_text("made\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(paths.LAB_NAMED, str(folder))
    return folder


def test_the_tiny_model_stands_in_and_a_line_says_so(lab, capsys):
    assert stand_in.model_here("smollm2-135m") == "tiny" and Path.cwd() == lab
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "no victim smollm2-135m here" in said and "random" in said
    assert stand_in.model_here("smollm2-135m") == "tiny", "the cell may be run again"


def test_not_where_the_victim_is_there(lab, capsys):
    models.victim_folder("mine").mkdir(parents=True)
    (models.victim_folder("mine") / "source.json").write_text("{}")
    here = Path.cwd()
    assert stand_in.model_here("mine") == "mine" and Path.cwd() == here and not capsys.readouterr().out


@pytest.mark.parametrize("missing", ["the variable", "the folder"])
def test_without_a_lab_a_missing_victim_stays_an_error(lab, monkeypatch, missing):
    if missing == "the variable":
        monkeypatch.delenv(paths.LAB_NAMED)
    else:
        (lab / paths.LAB_MARK).unlink()
    here = Path.cwd()
    assert stand_in.model_here("smollm2-135m") == "smollm2-135m" and Path.cwd() == here
    with pytest.raises(StudyError, match="no model there; run `dvc repro victim@smollm2-135m`"):
        models.load_victim("smollm2-135m", params.load(ROOT / "params.yaml").model("smollm2-135m"))


@pytest.mark.parametrize("name", ["00_theory", "01_dd_scoring", "03_attacks"])
def test_a_notebook_asks_before_it_uses_the_models_name(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    asked = code.index("model = stand_in.model_here(model)")
    assert "model)" not in code[:asked].replace("stand_in.model_here(model)", "") and "/ model" not in code[:asked]


def test_make_lab_alone_names_the_folder():
    makefile = (ROOT / "Makefile").read_text()
    (line,) = [line for line in makefile.splitlines() if paths.LAB_NAMED in line]
    assert line.startswith(f'\t{paths.LAB_NAMED}="$(CURDIR)/{paths.LAB}" jupyter lab')
