"""Where a model's public weights come from while its layers are swept: memory, or a checkpoint read layer by layer."""

import copy
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.difficulty.stored import Converted, Piece, places
from solid_utils.model import checkpoint, headers, loading
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.loading import without_values
from solid_utils.model.structure import decoder_layers
from solid_utils.model.tensors import Stored

WIDE = {"F64", "F32", "F16", "BF16"}
FIX = "load it whole (--stream never), or dequantise it, save_pretrained it in bfloat16 and give that folder"


def with_tensors(
    module: nn.Module, tensors: dict[str, torch.Tensor], device: torch.device, keep: Iterable[nn.Module] = ()
) -> nn.Module:
    """A copy of `module` that shares all parameters with it but the named ones, which get the given values.

    Tied parameters stay tied. Modules in `keep` are shared as they are. Values are cast to the parameter's dtype.
    """
    parameters = dict(module.named_parameters())
    twin = copy.deepcopy(module, {id(part): part for part in [*parameters.values(), *keep]})
    fresh = {
        id(parameters[name]): nn.Parameter(tensor.to(device, parameters[name].dtype), requires_grad=False)
        for name, tensor in tensors.items()
    }
    for part in twin.modules():
        for leaf, parameter in part._parameters.items():
            if id(parameter) in fresh:
                part._parameters[leaf] = fresh[id(parameter)]
    return twin


class InMemory:
    """A model whose weights are all in memory."""

    streamed = False  # are the decoder layers read from disk, once a sweep?

    def __init__(self, model: PreTrainedModel):
        self.model, self.layers = model, DecoderLayers(model)
        self.device, self.path = self.layers.device, self.layers.path
        self.parameters = dict(model.named_parameters())

    def read(self, name: str) -> torch.Tensor:
        """A public parameter."""
        return self.parameters[name].detach()

    def layer(self, index: int) -> nn.Module:
        """A public decoder layer."""
        return self.layers.layers[index]

    def variant(self, index: int, tensors: dict[str, torch.Tensor]) -> nn.Module:
        """Decoder layer `index` with the named tensors (full names) in place of its own."""
        prefix = f"{self.path}.{index}."
        return with_tensors(
            self.layer(index), {name.removeprefix(prefix): value for name, value in tensors.items()}, self.device
        )

    def frame(self, tensors: dict[str, torch.Tensor]) -> nn.Module:
        """The model with the named tensors outside its decoder layers replaced; the layers themselves are shared."""
        return with_tensors(self.model, tensors, self.device, keep=[self.layers.layers]) if tensors else self.model

    def secured(self, declaration: str, l_star: int | None = None) -> SecuredSet:
        with self.layers.idle():
            return secured_set(self.model, declaration, l_star)


class Skeleton(InMemory):
    """A model by its configuration alone, for plans and costs: every parameter has its shape and dtype, but no memory.

    All scalars of a parameter are one zero, so the model's own forward runs, with idle layers and head. Layer 0 alone
    runs once, with zeros of its own, to see what a layer returns.
    """

    def __init__(self, config: PreTrainedConfig, dtype: torch.dtype):
        self.device, empty = torch.device("cpu"), without_values(config, dtype)
        zeros = {name: torch.zeros((), dtype=p.dtype).expand(p.shape) for name, p in empty.named_parameters()}
        self.model = with_tensors(empty, zeros, self.device)
        self.model.get_output_embeddings().forward = lambda state: state
        layer = decoder_layers(self.model)[1][0]
        whole = {name: torch.zeros(p.shape, dtype=p.dtype) for name, p in layer.named_parameters()}
        self.layers = DecoderLayers(self.model, first=with_tensors(layer, whole, self.device))
        self.path, self.parameters = self.layers.path, dict(self.model.named_parameters())


class Streamed(InMemory):
    """A safetensors checkpoint of any size: embeddings, norms and head in memory, decoder layers read when asked for.

    `folder` is one that `save_pretrained` wrote, or its Checkpoint; `dtype` is that of the parameters in memory. A
    layer's tensors are views of the mapped file where the dtypes agree, so they live in the page cache, not in this
    process's own memory. Names, shapes and dtypes are checked before any tensor is read, values as each is first read.
    Raises StudyError where the checkpoint's tensors are not those of the architecture's parameters.
    """

    streamed = True

    def __init__(self, folder: Path | str | checkpoint.Checkpoint, dtype: torch.dtype, device: torch.device):
        found = folder if isinstance(folder, checkpoint.Checkpoint) else checkpoint.find(Path(folder))
        self.folder, self.device, self.opened = found.folder, device, found.opened()
        config = loading.read_config(found)
        method = loading.quantised(config)
        # Under the name of fp8 there may be plain numbers, which Transformers takes as they are.
        if method and not (method == "fp8" and all(WIDE.issuperset(file.dtypes.values()) for file in self.opened)):
            raise StudyError(f"{found}: quantised with {method}, so it cannot be read layer by layer; {FIX}")
        skeleton = loading.hollow(found, config, dtype)
        headers.check_names(found, skeleton, self.opened)
        self.path, _ = decoder_layers(skeleton)
        inside = f"{self.path}."
        self.parameters = dict(skeleton.named_parameters())
        outside = [name for name in self.parameters if not name.startswith(inside)]
        self.files = stored(self.opened, skeleton)
        self.model = with_tensors(skeleton, {name: self.read(name) for name in outside}, device)
        for part in self.model.modules():  # buffers are real from the start
            part._buffers |= {name: buffer.to(device) for name, buffer in part._buffers.items() if buffer is not None}
        self.read_buffers(self.model, "")
        self.skeleton = list(decoder_layers(self.model)[1])  # decoder layers without values
        self.layers = DecoderLayers(self.model, first=self.layer(0))

    def read(self, name: str) -> torch.Tensor:
        """A public parameter. Raises StudyError where the checkpoint has none of that name."""
        if name not in self.files:
            raise StudyError(f"{self.folder}: no tensor {name} there; get the checkpoint again")
        return self.files[name].tensor(name)

    def layer(self, index: int) -> nn.Module:
        return self.variant(index, {})

    def variant(self, index: int, tensors: dict[str, torch.Tensor]) -> nn.Module:
        prefix = f"{self.path}.{index}."
        public = [name for name, _ in self.skeleton[index].named_parameters() if prefix + name not in tensors]
        values = {name.removeprefix(prefix): value for name, value in tensors.items()}
        twin = with_tensors(self.skeleton[index], values | {n: self.read(prefix + n) for n in public}, self.device)
        self.read_buffers(twin, prefix)
        return twin

    def read_buffers(self, module: nn.Module, prefix: str) -> None:
        """Fill the buffers that the checkpoint holds, such as the scale of a layer or the bias of a router."""
        for name, buffer in module.named_buffers():
            if prefix + name in self.files:
                owner, _, leaf = name.rpartition(".")
                module.get_submodule(owner)._buffers[leaf] = self.read(prefix + name).to(self.device, buffer.dtype)


def stored(opened: list[Stored], skeleton: PreTrainedModel) -> dict[str, Piece | Converted]:
    """Where each parameter and buffer stands in the checkpoint, by Transformers' own rules for names and formats."""
    files = {key: file for file in opened for key in file.keys()}  # noqa: SIM118 (no dictionary)
    return places(files, skeleton)
