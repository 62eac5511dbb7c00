"""Tensors as a safetensors file: written whole or not at all, with digests, which are checked as a tensor is read.

The file's metadata holds a sha256 of each tensor's bytes, and a seal: the sha256 of the header itself, in which the
seal stands as zeros. So no name, dtype, shape, place or digest changes unseen. A file without both is somebody else's.
"""

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from solid_utils.core import files
from solid_utils.core.errors import StudyError

DIGESTS, SEAL, BLANK = "solid.sha256", "solid.seal", "0" * 64
LENGTH = 8  # bytes in front of a safetensors header, which say how long it is
AGAIN = "get the file again, or make it again"
POINTERS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run `git lfs pull`",
    b"version https://hawser": "a pointer of Git LFS, not the file itself; run `git lfs pull`",
    b"/annex/": "a pointer of git-annex, not the file itself; run `git annex get`",
    b"../.git/annex": "a pointer of git-annex, not the file itself; run `git annex get`",
    b"<!doctype": "a web page, not the file itself; get the file again",
    b"<html": "a web page, not the file itself; get the file again",
}


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors, each contiguous and on the CPU. The same tensors give the same bytes.

    Raises StudyError when the file cannot be written.
    """
    digests = {name: digest(tensor) for name, tensor in sorted(tensors.items())}
    metadata = (metadata or {"format": "pt"}) | {DIGESTS: json.dumps(digests), SEAL: BLANK}
    with files.whole(path) as partial:
        try:
            safetensors.torch.save_file(tensors, partial, metadata=metadata)
        except safetensors.SafetensorError as error:  # what a full disk is to safetensors
            raise OSError(error) from None
        seal(partial)


def seal(path: Path) -> None:
    """Sort the metadata, which safetensors writes in an order of chance, and fill in the seal."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) != length:  # the data begin behind it: in another length they would be misread
            raise OSError(f"a header of {length} bytes became one of {len(text)}")
        file.seek(LENGTH)
        file.write(text.replace(BLANK.encode(), hashlib.sha256(text).hexdigest().encode(), 1))


def digest(tensor: Tensor) -> str:
    """The sha256 of a tensor's bytes, about 1.5 GB/s."""
    return hashlib.sha256(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()).hexdigest()


def load(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises StudyError where it is broken or a tensor is not what its digest says."""
    stored = Stored(path)
    return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no dictionary)


def finite(tensor: Tensor) -> bool:
    """Is every scalar a number? One pass and no copy: twenty times as fast as isfinite().all()."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.itemsize == 1:  # no 8-bit float has an aminmax
        tensor = tensor.float()
    return all(end.isfinite() for end in torch.aminmax(tensor.detach()))  # nan goes through both


class Stored:
    """A safetensors file, opened. A tensor is checked against its digest, if it has one, when it is first read.

    With `numbers` a tensor that holds what is no number is refused as well. Tensors are views of the mapped file.
    Raises StudyError, which names the file, where it is broken.
    """

    def __init__(self, path: Path, numbers: bool = False):
        self.path, self.numbers = Path(path), numbers
        whole(self.path)
        try:
            self.file = safetensors.safe_open(self.path, "pt")
            slices = {name: self.file.get_slice(name) for name in self.file.keys()}  # noqa: SIM118 (no dictionary)
        except (safetensors.SafetensorError, OSError) as error:
            raise StudyError(
                f"{self.path}: no whole safetensors file, cut short or damaged ({first_line(error)}); {AGAIN}"
            ) from None
        self.dtypes = {name: part.get_dtype() for name, part in slices.items()}
        self.shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        self.digests = sealed(self.path, self.file.metadata() or {}, set(self.shapes))
        self.found: dict[str, str] = {}  # digests of what was read

    def keys(self) -> list[str]:
        """Names of its tensors."""
        return list(self.shapes)

    def get_tensor(self, name: str) -> Tensor:
        """A tensor, on the CPU, checked at its first reading. Raises StudyError where it is not what it should be."""
        tensor = self.file.get_tensor(name)
        if name not in self.found:
            self.check(name, tensor)
        return tensor

    def check(self, name: str, tensor: Tensor) -> None:
        if self.numbers and not finite(tensor):
            raise StudyError(f"{self.path}: {name} holds values that are no numbers (nan or infinite); {AGAIN}")
        found = digest(tensor)
        if self.digests and self.digests[name] != found:
            raise StudyError(f"{self.path}: {name} is not what was written (its sha256 differs); {AGAIN}")
        self.found[name] = found

    def rows(self) -> list[str]:
        """Name, dtype, shape and sha256 of each tensor; what was not read until now is read."""
        if not self.digests:
            for name in set(self.shapes) - set(self.found):
                self.found[name] = digest(self.file.get_tensor(name))
        digests = self.digests or self.found
        return [f"{name} {self.dtypes[name]} {self.shapes[name]} {digests[name]}" for name in sorted(self.shapes)]


def whole(path: Path) -> None:
    """Raises StudyError where a file is missing, a dangling link, no file, empty, or a pointer to one elsewhere."""
    if path.is_symlink() and not path.exists():
        raise StudyError(f"{path}: a link to {path.readlink()}, which does not exist; {AGAIN}")
    if not path.exists():
        raise StudyError(f"{path}: missing; {AGAIN}")
    if not path.is_file():
        raise StudyError(f"{path}: no file; {AGAIN}")
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    if not start:
        raise StudyError(f"{path}: empty; {AGAIN}")
    for mark, what in POINTERS.items():
        if start.startswith(mark):
            raise StudyError(f"{path}: {what}")


def sealed(path: Path, metadata: dict[str, str], names: set[str]) -> dict[str, str]:
    """The digests of a file of the study's, by tensor; empty for a file of somebody else's.

    Raises StudyError where the header is not the one that was written.
    """
    if DIGESTS not in metadata and SEAL not in metadata:
        return {}
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(LENGTH), "little"))
    mark = metadata.get(SEAL, "")
    blanked = header.replace(mark.encode(), BLANK.encode(), 1) if len(mark) == len(BLANK) else b""
    if hashlib.sha256(blanked).hexdigest() != mark:
        raise StudyError(f"{path}: its header is not what was written (names, shapes or digests differ); {AGAIN}")
    digests = json.loads(metadata[DIGESTS])
    if set(digests) != names:
        raise StudyError(f"{path}: its digests are of other tensors than it holds; {AGAIN}")
    return digests


def fingerprint(opened: list[Stored]) -> str:
    """One sha256 over all tensors of some files, however they are spread over them."""
    rows = sorted(row for stored in opened for row in stored.rows())
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def first_line(error: Exception) -> str:
    """What an error says, in one short line."""
    return " ".join(str(error).split())[:160] or type(error).__name__
