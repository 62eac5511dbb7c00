"""The check of all settings that comes first: one process, one line, and the same bytes whenever they are right."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.doctor import settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("method: lora", "method: lore", "customization.*unknown name .lore"),
        ("start: xavier", "start: xavyer", "start"),
        ("loss: relative_mse", "loss: relative", "loss"),
    ],
)
def test_what_one_room_declares_wrongly_is_refused(old, new, said, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    settings.load(tmp_path / "params.yaml")
    tiers = tmp_path / "configs" / "tiers.yaml"
    tiers.write_text(tiers.read_text().replace(old, new))
    with pytest.raises(StudyError, match=said):
        settings.load(tmp_path / "params.yaml")


def test_the_command_writes_its_file_when_all_is_right(tmp_path):
    file = tmp_path / "checked.txt"
    subprocess.run([sys.executable, "-m", "solid_utils.doctor.settings", file], cwd=ROOT, check=True)
    assert file.read_text() == "settings: checked\n"
