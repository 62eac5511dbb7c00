"""Tensors as a safetensors file, whole or not at all."""

from pathlib import Path

import safetensors.torch
from torch import Tensor

from solid_utils.core import files


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors, each contiguous and on the CPU. Raises StudyError when the file cannot be written."""
    with files.whole(path) as partial:
        try:
            safetensors.torch.save_file(tensors, partial, metadata=metadata)
        except safetensors.SafetensorError as error:  # what a full disk is to safetensors
            raise OSError(error) from None
