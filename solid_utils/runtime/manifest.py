"""The manifest of a split model: what is open, what is secured, what the secure world allows; its hash binds both.

The customer can change every file that he holds. So the manifest stands in the additional data of every sealed tensor
(seal.py): the secure world opens nothing under another manifest, and takes its limits from nowhere else. Who gets the
open half alone can check it by a signature (Ed25519, RFC 8032).
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from solid_utils.core import files, readers
from solid_utils.core.errors import StudyError
from solid_utils.model.checkpoint import MANIFEST, OPEN_FORMAT

SIGNATURE = "manifest.sig"
AGAIN = "get the open folder again, or split the model again"
Count = Annotated[int, Field(gt=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A part of the manifest: an unknown key is an error, and nothing is changed once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Section):
    """What the secure world answers; None: as much as is asked. A sequence is a text that begins at a secured layer."""

    frame_bytes: Count = 2**26
    rows: Count = 256  # of one batch
    row_tokens: Count = 4096  # of one text
    sessions: Count = 16  # at the same time
    tokens_session: Count | None = None
    sequences_session: Count | None = None
    gradients_session: Count | None = None  # tokens through which gradients are pulled
    tokens_day: Count | None = None  # a day of UTC, over all sessions
    sequences_day: Count | None = None
    tokens_second: Count | None = None  # over all sessions, bursts of ten seconds


class Boundary(Section):
    """What is done to states before they leave the secure world (boundary.py)."""

    rounding: Literal["none", "bfloat16", "int8", "int4"] = "none"
    noise: Annotated[float, Field(ge=0, le=10)] = 0.0  # standard deviation, in root mean squares of the state
    seed: Annotated[int, Field(ge=0)] = 0  # of the noise, beside the key


class Policy(Section):
    """What the vendor lets the secure world do; part of the manifest, so that the customer cannot change it."""

    limits: Limits = Limits()
    boundary: Boundary = Boundary()
    gradients: bool = False  # answer with gradients too: a second oracle


class Secured(Section):
    """One secured tensor. Their order is that of the sealed file."""

    name: str
    dtype: Literal["float32", "bfloat16"]
    shape: tuple[Annotated[int, Field(ge=0)], ...]


class Manifest(Section):
    format: Literal["solid-open-1"] = OPEN_FORMAT
    model: str  # the class, for people
    dtype: Literal["float32", "bfloat16"]  # of the computation
    fingerprint: Digest  # of the whole model, keyed: see split.py
    declaration: str  # of the secured set
    secured: Annotated[tuple[Secured, ...], Field(min_length=1)]
    files: dict[str, Digest]  # name in the open folder -> sha256
    policy: Policy = Policy()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the secured parameters, in the model's order."""
        return tuple(one.name for one in self.secured)


def write(manifest: Manifest, folder: Path) -> None:
    """Into the open folder, as the one text that has its hash."""
    files.write_text(json.dumps(manifest.model_dump(), indent=1, sort_keys=True) + "\n", folder / MANIFEST)


def sha256(folder: Path) -> bytes:
    """The hash of a manifest's text, 32 bytes: what both halves are bound to. Raises StudyError where there is none."""
    path = folder / MANIFEST
    readers.read_text(path, AGAIN)
    return hashlib.sha256(path.read_bytes()).digest()


def read(folder: Path) -> Manifest:
    """The manifest of an open folder. Raises StudyError where there is none, or it is no such manifest."""
    path = folder / MANIFEST
    found = readers.read_object(path, AGAIN)
    try:
        manifest = Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise StudyError(f"{path}: {place}: {first['msg']}; {AGAIN}") from None
    if len(set(manifest.names)) < len(manifest.names):
        raise StudyError(f"{path}: secured: a name stands twice; {AGAIN}")
    return manifest


def check_files(folder: Path, manifest: Manifest, only: tuple[str, ...] = ()) -> None:
    """Raises StudyError where a file of the open folder is not the one that was written; `only`: look at these."""
    for name in only or manifest.files:
        path = folder / name
        if Path(name).name != name or name not in manifest.files:
            raise StudyError(f"{folder / MANIFEST}: files: {name!r} is no file of this folder; {AGAIN}")
        if not path.is_file():
            raise StudyError(f"{path}: missing; {AGAIN}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != manifest.files[name]:
            raise StudyError(f"{path}: is not what was split (its sha256 differs from {MANIFEST}'s); {AGAIN}")


def sign(folder: Path, private: bytes) -> None:
    """Sign the manifest with a private key of Ed25519 (32 bytes)."""
    signature = Ed25519PrivateKey.from_private_bytes(private).sign((folder / MANIFEST).read_bytes())
    files.write_text(f"{signature.hex()}\n", folder / SIGNATURE)


def public_key(private: bytes) -> str:
    """The public half, 64 hexadecimal digits: what a customer is given."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def check_signature(folder: Path, public: str) -> None:
    """Raises StudyError where the manifest is not signed by the key whose public half this is."""
    if not re.fullmatch(r"[0-9a-f]{64}", public):
        raise StudyError("public key: no 64 hexadecimal digits; ask the vendor for it")
    path = folder / SIGNATURE
    signature = readers.read_text(path, AGAIN).strip()
    if not re.fullmatch(r"[0-9a-f]{128}", signature):
        raise StudyError(f"{path}: no signature; {AGAIN}")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), (folder / MANIFEST).read_bytes())
    except (InvalidSignature, ValueError):
        raise StudyError(f"{path}: {MANIFEST} is not signed by this public key; do not use this folder") from None
