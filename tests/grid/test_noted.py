"""What a cell ran with is written down before it runs, and compared afterwards."""

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.grid import noted
from solid_utils.settings.attack_params import Recipe

RECIPE = Recipe(steps=2, batch=4, learning_rate=0.1, weight_decay=0, schedule="cosine", validate_every=1)


def test_the_first_setting_that_differs_is_named(tmp_path):
    noted.note(tmp_path, "b", {"recipe": RECIPE, "length": 160})
    noted.note(tmp_path, "a", {"recipe": RECIPE, "length": 64})
    noted.check(tmp_path / "b.csv", {"recipe": RECIPE, "length": 160})
    other = RECIPE.model_copy(update={"warmup": 0.5})
    with pytest.raises(StudyError, match=r"b.csv: ran with recipe.warmup as usual, the settings say 0.5; delete"):
        noted.check(tmp_path / "b.csv", {"recipe": other, "length": 160})
    with pytest.raises(StudyError, match=r"a.csv: ran with length 64, the settings say 160"):
        noted.check(tmp_path / "a.csv", {"recipe": RECIPE, "length": 160})
    noted.note(tmp_path, "a", {"recipe": other, "length": 160})
    noted.check(tmp_path / "a.csv", {"recipe": other, "length": 160})


def test_a_cell_without_a_note_and_how_work_is_cut_up_count(tmp_path):
    noted.check(tmp_path / "old.csv", {"length": 1})
    noted.note(tmp_path, "b", {"recipe": RECIPE})
    noted.check(tmp_path / "old.csv", {"length": 1})
    noted.check(tmp_path / "b.csv", {"recipe": RECIPE.model_copy(update={"device_tokens": 512})})


@pytest.mark.parametrize("text", ['{"b": ', '{"b": {"length": NaN}}', '{"a": 3}', '{"b": null}', "[1]"])
def test_a_broken_file_of_notes_is_one_line_and_stays_as_it_is(tmp_path, text):
    path = tmp_path / noted.FILE
    path.write_text(text)
    with pytest.raises(StudyError, match="recipes.json: .*; delete the file"):
        noted.check(tmp_path / "b.csv", {"length": 1})
    with pytest.raises(StudyError, match="recipes.json: .*; delete the file"):
        noted.note(tmp_path, "c", {"length": 1})
    assert path.read_text() == text
