"""What a cell's settings were when it began: recipes.json beside the cells, as their files name a part of it only.

Cells that ran before there was such a note have none, and are judged by what their files say.
"""

from pathlib import Path

from pydantic import BaseModel

from solid_utils.core import files, readers, schema
from solid_utils.core.errors import StudyError
from solid_utils.grid import shared

FILE = "recipes.json"
OF_THE_MACHINE = {"device_tokens", "cache"}  # how the same work is cut up


def flat(settings: dict) -> dict[str, object]:
    """Settings as {dotted key: value}. Defaults are left out: an option that comes later outdates no cell."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json", exclude_defaults=True, exclude=OF_THE_MACHINE)
        if isinstance(value, dict):
            found |= {f"{key}.{name}": one for name, one in flat(value).items()}
        else:
            found[key] = value
    return found


def read(folder: Path) -> dict[str, dict]:
    """Notes by cell; none where no cell of this folder has any. StudyError for a file that holds anything else."""
    path = folder / FILE
    found = readers.read_object(path, schema.RERUN) if path.exists() else {}
    if wrong := [cell for cell, one in found.items() if not isinstance(one, dict)]:
        raise StudyError(f"{path}: {wrong[0]}: no settings by name; {schema.RERUN}")
    return found


def note(folder: Path, cell: str, settings: dict) -> None:
    """Write down, before a cell runs, what it runs with; a cell that begins again is noted again."""
    with shared.alone(folder):  # several processes may run cells of one list
        found = read(folder) | {cell: flat(settings)}
        files.write_json(dict(sorted(found.items())), folder / FILE)


def check(path: Path, settings: dict) -> None:
    """Raise StudyError where the cell in this file ran with other settings than it has now, naming the first."""
    before, now = read(path.parent).get(path.stem), flat(settings)
    if before is None:
        return
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise StudyError(
                f"{path}: ran with {key} {before.get(key, 'as usual')}, the settings say {now.get(key, 'as usual')}; "
                f"{schema.RERUN}"
            )
