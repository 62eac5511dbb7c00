"""Copies of the hub's data sets in one folder, params.yaml's published.mirror: what belongs there, and is it right?

    python -m solid_utils.data.mirror list                 the downloads: repository, commit, folder, configurations
    python -m solid_utils.data.mirror check FOLDER         every copy, in seconds; a line a fault, status 2
    python -m solid_utils.data.mirror check --write FILE   those that the settings read; FILE says which copies they are

The last one is the stage `mirror`: stages that read a mirror depend on FILE, so that other copies re-run them. DVC does
not look into a folder that is named in params.yaml, so the command runs before each `make study`, too.
"""

import argparse
import sys
from pathlib import Path

from solid_utils.core import files
from solid_utils.core.errors import StudyError, one_line
from solid_utils.model.hub import REVISIONS
from solid_utils.settings import params
from solid_utils.tasks import copies
from solid_utils.tasks.downloads import DATA_SETS, EVERYTHING, needed
from solid_utils.tasks.parts import parts_read

NONE = "no mirror is read\n"


def downloads() -> list[str]:
    """A line a data set of the hub: repository, commit, its folder in the mirror, configurations."""
    names = {repo: [name for one in DATA_SETS if one.repo == repo for name in one.names()] for repo in REVISIONS}
    return [f"{repo}  {commit}  MIRROR/{repo}  {', '.join(names[repo])}" for repo, commit in REVISIONS.items()]


def check(mirror: Path, parts: frozenset[str]) -> list[str]:
    """A line a split of the copies that these parts read. Raises StudyError, all faults but one on stderr before."""
    if not mirror.is_dir():
        raise StudyError(f"published.mirror: {mirror} is no folder; name the one that holds the copies, or null")
    wrong, right = copies.faults(mirror.resolve(), needed(parts))
    for line in wrong[:-1]:
        print(f"error: {line}", file=sys.stderr)
    if wrong:
        raise StudyError(wrong[-1])
    return right


def write(path: Path) -> None:
    """Checks what the settings read of a mirror, and writes which it is; the same bytes for the same copies."""
    study = params.load()
    parts = parts_read(study)
    said = NONE
    if study.published.mirror and parts:
        said = "".join(f"{line}\n" for line in check(Path(study.published.mirror), parts))
    # An untouched file keeps its time, so that DVC does not hash it again.
    if not path.exists() or path.read_text(encoding="utf8") != said:
        files.write_text(said, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m solid_utils.data.mirror", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="what to download")
    checked = actions.add_parser("check", help="is a mirror whole?")
    checked.add_argument("folder", nargs="?", type=Path, help="by default published.mirror of params.yaml")
    checked.add_argument("--write", type=Path, metavar="FILE", help="only what the settings read")
    wanted = parser.parse_args()
    if wanted.action == "list":
        print("\n".join(downloads()))
    elif wanted.write:
        write(wanted.write)
    else:
        folder = wanted.folder or params.load().published.mirror
        if folder is None:
            raise StudyError("published.mirror: null, so there is no mirror to check; name a folder")
        print(f"{folder}: {len(check(Path(folder), EVERYTHING))} splits of {len(REVISIONS)} data sets are right")


if __name__ == "__main__":
    with one_line():
        main()
