"""Which files of a model's folder are read: those that Transformers would read, and whether each of them is whole.

model.safetensors if there is one, else what model.safetensors.index.json lists. What lies beside is named, not used.
"""

import fnmatch
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import huggingface_hub

from solid_utils.core import readers
from solid_utils.core.errors import StudyError
from solid_utils.model.tensors import AGAIN, Stored, fingerprint, whole

# Of the open half of a split model (runtime/manifest.py).
MANIFEST, OPEN_FORMAT = "manifest.json", "solid-open-1"
SINGLE, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
WEIGHTS = ["*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx"]
SMALL = ["*.json", "*.model", "*.txt", "*.jinja"]  # of a hub model: no pickle, no code
# Pieces of torch's distributed checkpoints, which Transformers would take for the weights.
DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
OURS = {"optimizer.pt", "scheduler.pt", "training_args.bin"}  # of a Trainer's folder: no weights


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, or the one of a GGUF file, and the files in it that hold its weights."""

    folder: Path
    files: tuple[Path, ...]
    beside: tuple[str, ...] = ()  # names of files that hold weights too, and are not read
    gguf: str | None = None
    adapter: bool = False  # does an adapter lie beside, not to be used?

    def __str__(self) -> str:
        return str(self.files[0] if self.gguf else self.folder)

    @property
    def named(self) -> dict:
        """How Transformers is told of it, for configuration, tokenizer and model."""
        return {"gguf_file": self.gguf} if self.gguf else {}

    def note(self) -> str | None:
        """One line on what lies in the folder and is not read."""
        if not self.beside and not self.adapter:
            return None
        names = [*self.beside[:3], *([f"{len(self.beside) - 3} more"] if len(self.beside) > 3 else [])]
        read = self.files[0].name if len(self.files) == 1 else f"the {len(self.files)} files that {INDEX} lists"
        return f"{self}: read: {read}; not read: {', '.join([*names, *([ADAPTER] if self.adapter else [])])}"

    def opened(self) -> list[Stored]:
        """Its safetensors files, opened. Raises StudyError where one is broken or a tensor is in two."""
        if self.gguf:
            raise StudyError(f"{self}: a GGUF file cannot be read layer by layer; load it whole (--stream never)")
        opened, places = [Stored(path, numbers=True) for path in self.files], {}
        for stored in opened:
            for name in stored.keys():  # noqa: SIM118 (no dictionary)
                if name in places:
                    raise StudyError(f"{stored.path}: {name} is also in {places[name].name}; {AGAIN}")
                places[name] = stored.path
        if not places:
            raise StudyError(f"{self.files[0]}: no tensor in it; {AGAIN}")
        if self.files[0].name != SINGLE:
            promised(self.folder, {name: path.relative_to(self.folder).as_posix() for name, path in places.items()})
        return opened

    def sha256(self, opened: list[Stored] | None = None) -> str:
        """Of its weights; `opened`: the files as they were read, so that nothing is read or hashed twice."""
        if self.gguf:
            with self.files[0].open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return fingerprint(opened or self.opened())

    def revision(self, sha256: str) -> str:
        """What names a model of no revision: of its configuration and the `sha256` of its weights."""
        if self.gguf:
            return sha256[:12]
        config = (self.folder / "config.json").read_bytes()
        return hashlib.sha256(config + sha256.encode()).hexdigest()[:12]


def find(path: Path, ignore_adapter: bool = False) -> Checkpoint:
    """The checkpoint in a folder made by save_pretrained, or a GGUF file. Nothing but names and indices is read.

    Raises StudyError where there is none, a file is missing or no weights file, or an adapter lies beside the weights
    and it is not said, by `ignore_adapter`, that it is not meant.
    """
    if path.suffix.lower() == ".gguf":
        whole(path)
        return Checkpoint(path.parent, (path,), gguf=path.name)
    refuse_open_half(path)
    config = read_json(path / "config.json") if (path / "config.json").exists() or not (path / ADAPTER).exists() else {}
    names = weight_names(path, config)
    adapter = (path / ADAPTER).exists()
    if adapter and not names:
        raise StudyError(
            f"{path / ADAPTER}: an adapter and no model; lay it over its base with peft's merge_and_unload, "
            "save_pretrained the result and give that folder"
        )
    if adapter and not ignore_adapter:
        raise StudyError(
            f"{path}: an adapter ({ADAPTER}) lies beside a model's weights; merge it and give the result's folder, or, "
            f"if the weights alone are meant, give a folder without {ADAPTER} (solid-recommend: --ignore-adapter)"
        )
    if not names:
        raise StudyError(f"{path}: no {SINGLE} and no {INDEX} there; give a folder made by save_pretrained")
    for name in names:
        whole(path / name)
    beside = [name.name for name in sorted(path.iterdir()) if name.name not in OURS and name.name not in names]
    beside = [name for name in beside if any(fnmatch.fnmatch(name, pattern) for pattern in WEIGHTS)]
    if pieces := [name for name in beside if DISTRIBUTED.fullmatch(name)]:
        raise StudyError(f"{path / pieces[0]}: a piece of a distributed checkpoint; save the model whole and give that")
    return Checkpoint(path, tuple(path / name for name in names), tuple(beside), adapter=adapter)


def refuse_open_half(folder: Path) -> None:
    """Raises StudyError for the open half of a split model, where random weights would take the secured ones' place."""
    path = folder / MANIFEST
    if not path.is_file() or OPEN_FORMAT.encode() not in path.read_bytes():
        return
    raise StudyError(
        f"{path}: the open half of a split model, its secured tensors are elsewhere; open it with "
        "solid_utils.runtime.client.SemiOpenForCausalLM.from_pretrained(FOLDER, socket=SOCKET)"
    )


def weight_names(folder: Path, config: dict) -> list[str]:
    """Names of the files that Transformers reads, in its order of preference; none where there is no weights file."""
    if explicit := config.get("transformers_weights"):
        names = shards(folder, explicit) if str(explicit).endswith(".index.json") else [explicit]
        return [inside(folder / "config.json", name) for name in names]
    for name in (SINGLE, INDEX):
        path = folder / name
        if path.is_symlink() or path.exists():  # a dangling link is no reason to read something else
            return [SINGLE] if name == SINGLE else shards(folder, INDEX)
    return []


def shards(folder: Path, index: str) -> list[str]:
    """The files that an index lists. Raises StudyError where it is none that Transformers would read."""
    path = folder / index
    names = set(weight_map(path).values())
    return sorted(inside(path, name) for name in names)


def weight_map(path: Path) -> dict[str, str]:
    """Tensor -> file, as an index has it."""
    index = read_json(path)
    listed = index.get("weight_map")
    if not isinstance(listed, dict) or not listed or not isinstance(index.get("metadata"), dict):
        raise StudyError(f"{path}: no index of weights (it needs 'weight_map' and 'metadata'); {AGAIN}")
    return listed


def inside(path: Path, name: object) -> str:
    """A file's name as an index has it. Raises StudyError where it is none, or leads out of the folder."""
    if not isinstance(name, str) or not name.endswith(".safetensors"):
        raise StudyError(f"{path}: {json.dumps(name)[:80]} is no name of a safetensors file; {AGAIN}")
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name or ":" in name:
        raise StudyError(f"{path}: {name!r} leads out of the folder; do not use this checkpoint")
    return name


def promised(folder: Path, places: dict[str, str]) -> None:
    """Raises StudyError where a tensor is not in the file that the index says."""
    path = folder / INDEX
    if not path.exists():  # a file that config.json names
        return
    for name, file in weight_map(path).items():
        if name not in places:
            raise StudyError(f"{folder / file}: no {name} in it, which {INDEX} says is there; {AGAIN}")
        if places[name] != PurePosixPath(file).as_posix():
            raise StudyError(f"{folder / file}: {name} is in {places[name]}, not there as {INDEX} says; {AGAIN}")


def read_json(path: Path) -> dict:
    """A JSON object of a checkpoint. Raises StudyError where there is none, see readers.read_object."""
    if not path.exists() and not path.is_symlink():
        raise StudyError(f"{path.parent}: no {path.name} there; give a folder made by save_pretrained")
    whole(path)
    # Mamba-like configurations hold Infinity, and Transformers reads it.
    return readers.read_object(path, AGAIN, finite=path.name != "config.json")


def download(repository: str, revision: str | None = None) -> Path:
    """A hub model's folder in the hub's cache: small files first, then only the weights that will be read.

    Raises OSError or ValueError without access, StudyError where its index is none.
    """
    folder = Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=SMALL))
    index = folder / INDEX
    # Without an index or with an incomplete cache: whatever of it is there, `find` says what is missing.
    names = [SINGLE, *(shards(folder, INDEX) if index.exists() else [])]
    return Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=[*SMALL, *names]))
