"""A model of the right shape whose parameters are all zero: both worlds fill in what is theirs.

They share one place in memory, so a world holds little more than what is its own.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.model import loading
from solid_utils.model.checkpoint import Checkpoint
from solid_utils.runtime.manifest import MANIFEST, Manifest


def hollow(folder: Path, manifest: Manifest) -> PreTrainedModel:
    """The model of an open folder's configuration, parameters all zero. Buffers are real.

    Raises StudyError where the configuration and the manifest do not fit each other.
    """
    checkpoint = Checkpoint(folder, (folder / "model.safetensors",))
    config = loading.read_config(checkpoint)
    model = loading.hollow(checkpoint, config, getattr(torch, manifest.dtype))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    fill(model, zeros(model))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for one in manifest.secured:
        if shapes.get(one.name) != one.shape:
            raise StudyError(
                f"{folder / MANIFEST}: {one.name} has shape {list(one.shape)}, the model of config.json none such; "
                "get the open folder again"
            )
    return model.eval()


def zeros(model: nn.Module) -> dict[str, Tensor]:
    """A zero tensor for each parameter. All of one type lie in one place, as large as the largest: none is written.

    One each took as much memory as the whole model; stretched ones have no strides that grouped products take.
    """
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        sizes[parameter.dtype] = max(sizes.get(parameter.dtype, 0), parameter.numel())
    place = {dtype: torch.zeros(size, dtype=dtype) for dtype, size in sizes.items()}
    return {name: place[own.dtype][: own.numel()].view(own.shape) for name, own in model.named_parameters()}


def fill(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Put tensors in place of parameters, wherever these are used: tied ones stay tied. None is trainable yet."""
    made = {name: nn.Parameter(value, requires_grad=False) for name, value in values.items()}
    put = {id(old): made[name] for name, old in model.named_parameters() if name in made}
    for module in model.modules():
        for leaf, old in list(module._parameters.items()):
            if id(old) in put:
                module._parameters[leaf] = put[id(old)]


def forget(module: nn.Module) -> None:
    """Take a module's parameters and submodules away."""
    module._parameters.clear()
    module._modules.clear()
