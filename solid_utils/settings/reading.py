"""YAML files -> one raw dictionary: params.yaml, and beside it the files of configs/. Duplicate keys are refused."""

import hashlib
from pathlib import Path

import yaml

from solid_utils.core import readers
from solid_utils.core.errors import StudyError

CONFIGS = "configs"  # folder beside params.yaml; each file holds whole sections
REGISTRY = "published.yaml"  # but this one: it holds no settings (paper/registry.py reads it)


# libyaml where PyYAML was built with it, as its wheels are: all settings take 15 ms instead of 110 ms.
class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain YAML, where a key that stands twice in one mapping is an error (the usual loader keeps the last)."""


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key, _ in node.value:
        if key.tag != "tag:yaml.org,2002:merge":  # what `<<` brings may be overridden; that is its use
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_file(path: Path) -> dict:
    """One file. Raises StudyError where it is missing, no YAML, no mapping, or has a key twice."""
    if not path.exists():
        raise StudyError(f"{path}: missing; run from the top of the repository")
    try:
        raw = yaml.load(readers.read_text(path, "write it in UTF-8"), Loader)
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise StudyError(f"{path}: holds no sections; write `key: value` lines, as the shipped file has them")
    return raw


def read(path: Path) -> dict:
    """params.yaml and the files of configs/ beside it, as one. Raises StudyError where two hold the same section."""
    whole, places = read_file(path), {}
    places |= dict.fromkeys(whole, path)
    for file in sorted((path.parent / CONFIGS).glob("*.yaml")):
        if file.name == REGISTRY:
            continue
        part = read_file(file)
        part = {key: value for key, value in part.items() if not key.startswith("_")}  # shared pieces, for merge keys
        if twice := sorted(part.keys() & whole.keys()):
            raise StudyError(f"{file}: {twice[0]}: stands in {places[twice[0]]} too; keep one of them")
        whole |= part
        places |= dict.fromkeys(part, file)
    return whole


def asked() -> str:
    """sha256 of the text of the hypotheses, configs/hypotheses.yaml; "none" where there is no such file."""
    file = Path(CONFIGS) / "hypotheses.yaml"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "none"
