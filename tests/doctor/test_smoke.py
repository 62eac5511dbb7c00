"""A copy of the clone for a first try: all that git tracks, another study, and one line where a stage fails."""

from pathlib import Path

import pytest
import yaml

from solid_utils.core.errors import StudyError
from solid_utils.doctor import smoke
from solid_utils.settings import reading

ROOT = Path(__file__).parents[2]


def test_a_copy_holds_the_clone_with_another_study(tmp_path):
    folder = smoke.copied(ROOT, tmp_path / "copy", smoke.STUDY)
    for name in ("dvc.yaml", "notebooks/05_tables.ipynb", "configs/attacks.yaml", ".dvc/config"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    raw, whole = yaml.safe_load((folder / "params.yaml").read_text()), reading.read(ROOT / "params.yaml")
    assert (raw["tier"], raw["study"]) == ("tiny", smoke.STUDY) and raw["data"] == whole["data"]
    assert set(smoke.STUDY["attacks"]) <= set(whole["attacks"]) and "tiny" in whole["models"]


def test_what_is_no_clone_is_one_line(tmp_path):
    with pytest.raises(StudyError, match="no git clone, so it cannot be copied"):
        smoke.copied(tmp_path, tmp_path / "copy")
