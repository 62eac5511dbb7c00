"""Where a model's public weights come from while its layers are swept: memory, or a checkpoint read layer by layer."""

import copy
from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.core_model_loading import build_glob_alternation

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.difficulty.stored import Converted, Stored, places
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.structure import decoder_layers


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


def without_values(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a configuration, parameters on the meta device, buffers real."""
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False).eval()
    model.tie_weights()  # emptying the weights untied them
    as_loaded(model, dtype)
    return model


def as_loaded(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """What loading a checkpoint makes of a model besides values: routers kept in float32, buffers computed in it."""
    if plan := model._get_dtype_plan(dtype):
        kept, by_group, _ = build_glob_alternation(list(plan))
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, tensor in named.items():
            if match := kept.search(name):
                tensor.data = tensor.data.to(plan[by_group[match.lastgroup]])
    for part in model.modules():
        # GPT-J's sinusoids, computed in bfloat16 as the configuration alone would have it, are off by a hundredth.
        for leaf in part._non_persistent_buffers_set:
            if part._buffers.get(leaf) is not None:
                part._buffers[leaf]._is_hf_initialized = False
                model._init_weights(part)


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

    `folder` is one that `save_pretrained` wrote; `dtype` is that of the parameters in memory. A layer's tensors are
    views of the mapped file where the dtypes agree, so they live in the page cache, not in this process's own memory.
    Raises StudyError where the checkpoint's tensors are not named as the architecture's parameters.
    """

    streamed = True

    def __init__(self, folder: Path | str, dtype: torch.dtype, device: torch.device):
        self.folder, self.device = Path(folder), device
        skeleton = without_values(AutoConfig.from_pretrained(self.folder, trust_remote_code=False), dtype)
        self.path, _ = decoder_layers(skeleton)
        inside = f"{self.path}."
        self.parameters = dict(skeleton.named_parameters())
        outside = [name for name in self.parameters if not name.startswith(inside)]
        self.files = stored(self.folder, skeleton, device)
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


def stored(folder: Path, skeleton: PreTrainedModel, device: torch.device) -> dict[str, Stored | Converted]:
    """Where each parameter and buffer stands in the checkpoint, by Transformers' own rules for names and formats."""
    opened = [safe_open(path, "pt", device=str(device)) for path in sorted(folder.glob("*.safetensors"))]
    files = {key: file for file in opened for key in file.keys()}  # noqa: SIM118 (not a dictionary)
    if not files:
        raise StudyError(f"{folder}: no .safetensors there; give a folder made by save_pretrained")
    return places(files, skeleton)
