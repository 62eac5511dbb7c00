"""Models as a vendor splits them, for the tests of this room."""

import hashlib
from pathlib import Path

import torch

from solid_utils.runtime import seal, split
from solid_utils.runtime.manifest import Manifest, Policy
from tests.conftest import build

KEY = hashlib.sha256(b"a key of the tests").digest()
OTHER = hashlib.sha256(b"another key").digest()


def saved(folder: Path, architecture: str, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny random model's folder."""
    build(architecture).to(dtype).save_pretrained(folder / "model")
    return folder / "model"


def divided(folder: Path, architecture: str, declaration: str, policy: Policy | None = None) -> Manifest:
    """Both halves of a tiny random model, in `folder`/halves."""
    return split.split(saved(folder, architecture), declaration, folder / "halves", KEY, policy)


def pieces(tensor):
    """Some rows of 64 bytes of a tensor that no other tensor has by chance."""
    data = seal.content(tensor)
    return [data[at : at + 64] for at in (0, len(data) // 2, len(data) - 64) if len(set(data[at : at + 64])) > 16]
