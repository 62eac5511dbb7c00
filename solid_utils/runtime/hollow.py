"""A model of the right shape whose parameters are all zero: both worlds fill in what is theirs.

The system maps zeros that nobody wrote to one page, so they take no memory.
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
    fill(model, {name: torch.zeros(own.shape, dtype=own.dtype) for name, own in model.named_parameters()})
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for one in manifest.secured:
        if shapes.get(one.name) != one.shape:
            raise StudyError(
                f"{folder / MANIFEST}: {one.name} has shape {list(one.shape)}, the model of config.json none such; "
                "get the open folder again"
            )
    return model.eval()


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
