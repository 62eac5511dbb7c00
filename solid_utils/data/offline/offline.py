"""A domain of configs/domains.yaml as three disjoint sets of items, by one seeded shuffle.

python -m solid_utils.data.offline.offline DOMAIN [...]     into build/domains, for whoever runs cells by hand
"""

import json
import random
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from solid_utils.core import files, paths, readers
from solid_utils.core.errors import StudyError, one_line
from solid_utils.data.items import read_lines
from solid_utils.data.offline import functions, near, pairs, reasoning, subjects
from solid_utils.settings import domain_params, params

AGAIN = "run `dvc repro fetch`"


def found(wanted: domain_params.Domain, raw: Path, sets: Path) -> tuple[list[dict], list[dict]]:
    """Items for any set, and items that are only tested. `raw`, `sets`: folders of raw data and of the study's sets."""
    if isinstance(wanted, domain_params.Reasoning):
        return reasoning.items(wanted), []
    if isinstance(wanted, domain_params.Functions):
        return functions.items(wanted)
    if isinstance(wanted, domain_params.Subjects):
        rows = [row for row in read_lines(raw / "mmlu.jsonl") if row["correct_answer"] != "answer"]
        return subjects.items(wanted, rows, subjects.held_by(sets, rows, read_lines))
    return pairs.items(readers.read_json(raw / "dpo_en_demo.json", AGAIN)), []


def short(items: list[dict], most: int | None) -> list[dict]:
    """The items whose prompts have at most so many characters, or all."""
    return [item for item in items if most is None or len(item["prompt"]) <= most]


def split(name: str, wanted: domain_params.Domain, own: list[dict], tested: list[dict]) -> dict[str, list[dict]]:
    """{train, validation, test}; `tested` items are test items, at most half of them where there are others.

    Raises StudyError where too few are there.
    """
    generator = random.Random(wanted.seed)
    own, tested = (short(items, wanted.prompt) for items in (own, tested))
    if wanted.source != "reasoning":  # those stand in turns already, every piece with all kinds
        generator.shuffle(own)
        generator.shuffle(tested)
    tested = tested[: wanted.test // 2]
    sizes = {"test": wanted.test - len(tested), "validation": wanted.validation, "train": wanted.train}
    if (asked := sum(sizes.values())) > len(own):
        raise StudyError(f"configs/domains.yaml: domains.{name}: {asked} items asked, {len(own)} there; ask for fewer")
    sets = cut(name, own, sizes, reasoning.twin if wanted.source == "reasoning" else None)
    mixed = sets["test"] + tested
    generator.shuffle(mixed)
    sets["test"] = mixed
    return {
        part: [{"id": f"{name}-{part}-{n:05d}"} | item for n, item in enumerate(sets[part])] for part in wanted.sizes
    }


def cut(
    name: str, own: list[dict], sizes: dict[str, int], twin: Callable[[dict], tuple] | None
) -> dict[str, list[dict]]:
    """Pieces of a list, one after the other; an item whose `twin` an earlier piece has is left out, and counted.

    Raises StudyError where too few are left.
    """
    sets: dict[str, list[dict]] = {}
    known: set[tuple] = set()
    at = 0
    for part, size in sizes.items():
        sets[part] = []
        while len(sets[part]) < size:
            if at == len(own):
                raise StudyError(
                    f"configs/domains.yaml: domains.{name}: too few items are left without twins; ask for fewer"
                )
            if twin is None or twin(own[at]) not in known:
                sets[part].append(own[at])
            at += 1
        known |= {twin(item) for item in sets[part]} if twin else set()
    near.told(name, at, sum(sizes.values()), "the same numbers in another order as an item of an earlier set")
    return sets


def write(name: str, wanted: domain_params.Domain, raw: Path = paths.DATA, sets: Path = paths.SETS) -> list[Path]:
    """build/domains/NAME_{train,validation,test}.jsonl, each whole, and what they were made by; returns their paths."""
    marked(name).unlink(missing_ok=True)
    written = []
    made = split(name, wanted, *found(wanted, raw, sets))
    for path, items in zip(sets_of(name, wanted), made.values(), strict=True):
        files.write_lines(items, path)
        print(f"{path}: {len(items)} items", flush=True)
        written.append(path)
    files.write_text(mark(wanted, written), marked(name))  # last: then all are there
    return written


def marked(name: str) -> Path:
    """Where it lies what a domain's sets were made by."""
    return paths.DOMAINS / f"{name}.json"


def mark(wanted: domain_params.Domain, sets: list[Path]) -> str:
    """The settings, versions and code of this room that sets were made by, and the sha256 of each, as JSON."""
    code = {path.name: files.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))}
    made_by = {"settings": wanted.model_dump(mode="json"), "versions": versions(wanted), "code": code}
    return json.dumps(made_by | {"sha256": {path.name: files.sha256(path) for path in sets}})


def versions(wanted: domain_params.Domain) -> dict[str, str]:
    """Of the packages that a domain's items come from; "none" of one that is not installed, which its source tells."""
    packages = []
    if isinstance(wanted, domain_params.Reasoning):
        packages = ["reasoning-gym"]
    if isinstance(wanted, domain_params.Functions):
        packages = [*wanted.packages, *wanted.apart]
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def sets_of(name: str, wanted: domain_params.Domain) -> list[Path]:
    """The files of a domain's sets."""
    return [paths.DOMAINS / f"{name}_{part}.jsonl" for part in wanted.sizes]


def there(name: str, wanted: domain_params.Domain) -> bool:
    """Are the domain's sets in build/domains, made by these settings, versions and code, and as they were written?"""
    sets = sets_of(name, wanted)
    if not all(path.exists() for path in [*sets, marked(name)]):
        return False
    return marked(name).read_text(encoding="utf8") == mark(wanted, sets)


if __name__ == "__main__":
    with one_line():
        study = params.load()
        for chosen in sys.argv[1:]:
            write(chosen, params.pick(study.domains, chosen, "domains"))
