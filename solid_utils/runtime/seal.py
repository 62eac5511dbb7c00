"""Sealed tensors: AES-256-GCM, each tensor by itself, in a safetensors file of bytes.

A sealed tensor is its nonce (12 bytes, the system's randomness), its ciphertext and its tag. Authenticated with it, as
additional data: its name, dtype, shape, place, how many there are, the file's header, and the hash of the manifest. So
none can be renamed, moved, dropped, cut or read as another dtype, no byte of the file changes unseen, and none opens
beside another open half. Why not CryptoTensors: docs/deployment.md.
"""

import hashlib
import json
import os
from pathlib import Path

import safetensors
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from safetensors.torch import save_file
from torch import Tensor

from solid_utils.core import files
from solid_utils.core.errors import StudyError
from solid_utils.model import tensors
from solid_utils.runtime import keys
from solid_utils.runtime.manifest import Manifest, Secured

FILE, FORMAT = "secured.safetensors", "solid-sealed-1"
NONCE, TAG = 12, 16  # bytes (NIST SP 800-38D)
LARGEST = 2**31 - 1  # bytes that one call of the library takes
AGAIN = "get the sealed folder again, or split the model again"


def seal(secret: dict[str, Tensor], manifest: Manifest, binding: bytes, key: bytes, folder: Path) -> None:
    """Write the secured tensors, encrypted. `binding`: the manifest's hash.

    Raises StudyError where a tensor is too large, or the file cannot be written.
    """
    sizes = {one.name: size(one) + NONCE + TAG for one in manifest.secured}
    if too_large := [name for name, count in sizes.items() if count > LARGEST]:
        raise StudyError(f"{folder / FILE}: {too_large[0]} is too large, {LARGEST} bytes of a tensor can be sealed")
    cipher = AESGCM(keys.derived(key, "tensors", binding))
    sealed = {name: torch.zeros(count, dtype=torch.uint8) for name, count in sizes.items()}
    with files.whole(folder / FILE) as partial:
        save_file(sealed, partial, metadata={"format": FORMAT})  # of zeros: the header does not depend on values
        header = header_of(partial)
        for place, one in enumerate(manifest.secured):
            nonce = os.urandom(NONCE)
            closed = cipher.encrypt(nonce, content(secret[one.name]), additional(one, place, manifest, binding, header))
            sealed[one.name] = torch.frombuffer(bytearray(nonce + closed), dtype=torch.uint8)
        save_file(sealed, partial, metadata={"format": FORMAT})


def header_of(path: Path) -> str:
    """The sha256 of the header of a safetensors file."""
    with path.open("rb") as file:
        length = file.read(tensors.LENGTH)
        return hashlib.sha256(length + file.read(int.from_bytes(length, "little"))).hexdigest()


def size(one: Secured) -> int:
    """Bytes of a tensor."""
    return torch.Size(one.shape).numel() * getattr(torch, one.dtype).itemsize


def additional(one: Secured, place: int, manifest: Manifest, binding: bytes, header: str) -> bytes:
    """What is authenticated with a tensor and not written beside it."""
    place_of_all = [FORMAT, header, binding.hex(), place, len(manifest.secured)]
    return json.dumps([*place_of_all, one.name, one.dtype, list(one.shape)]).encode()


def content(tensor: Tensor) -> bytes:
    """A tensor's bytes in row-major order."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def unseal(folder: Path, manifest: Manifest, binding: bytes, key: bytes) -> dict[str, Tensor]:
    """The secured tensors, in memory only. Raises StudyError, one line, where anything is not as it was sealed."""
    path = folder / FILE
    closed = read(path)
    if list(closed) != sorted(manifest.names):  # the order in which safetensors writes tensors of one dtype
        raise StudyError(f"{path}: holds other tensors than the manifest, or in another order; {AGAIN}")
    if wrong := [one.name for one in manifest.secured if len(closed[one.name]) != size(one) + NONCE + TAG]:
        raise StudyError(f"{path}: {wrong[0]} has another size than its shape says; {AGAIN}")
    cipher, header = AESGCM(keys.derived(key, "tensors", binding)), header_of(path)
    return {
        one.name: opened(path, closed[one.name], one, cipher, additional(one, place, manifest, binding, header))
        for place, one in enumerate(manifest.secured)
    }


def read(path: Path) -> dict[str, bytes]:
    """The sealed bytes by name, in the file's order. Raises StudyError where it is no such file."""
    tensors.whole(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise StudyError(f"{path}: no sealed tensors ({FORMAT}); {AGAIN}")
            found = {name: file.get_tensor(name) for name in file.offset_keys()}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise StudyError(f"{path}: no whole safetensors file ({tensors.first_line(error)}); {AGAIN}") from None
    for name, tensor in found.items():
        if tensor.dtype != torch.uint8 or tensor.ndim != 1 or len(tensor) < NONCE + TAG:
            raise StudyError(f"{path}: {name[:80]!r} is no sealed tensor; {AGAIN}")
    return {name: tensor.numpy().tobytes() for name, tensor in found.items()}


def opened(path: Path, closed: bytes, one: Secured, cipher: AESGCM, authenticated: bytes) -> Tensor:
    """One tensor, decrypted. Raises StudyError where key, manifest, name, dtype, shape, place or a bit is another."""
    try:
        plain = cipher.decrypt(closed[:NONCE], closed[NONCE:], authenticated)
    except InvalidTag:
        raise StudyError(
            f"{path}: {one.name} does not open: another key, another manifest, or it was changed; {AGAIN}"
        ) from None
    # Cloned to where torch would have put it: products may differ in the last bit with a matrix's place in memory.
    return torch.frombuffer(bytearray(plain), dtype=getattr(torch, one.dtype)).reshape(one.shape).clone()
