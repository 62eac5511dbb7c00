"""LoRA on the open decoder layers of a deployment (Hu et al. 2021, arXiv:2106.09685), by peft."""

import warnings

import peft
from torch import nn
from transformers.pytorch_utils import Conv1D

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.matrices import is_stack, is_vector
from solid_utils.model.structure import decoder_layers
from solid_utils.settings.attack_params import Recipe

# The pinned peft asks the pinned Transformers by the older name; nothing here can ask otherwise.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
PREFIX = "base_model.model."  # of the names of a wrapped model's own parameters


def open_matrices(model: nn.Module, secured: SecuredSet, targets: list[str] | None = None) -> list[str]:
    """Names of the linear modules inside open decoder layers, or of those whose names end in one of `targets`.

    Raises StudyError when every layer is secured, and for a target that fits no module or a secured one.
    """
    path, _ = decoder_layers(model)
    secret = set(secured.names)
    linear = [
        name
        for name, module in model.named_modules()
        if name.startswith(f"{path}.") and isinstance(module, nn.Linear | Conv1D)
    ]
    for target in targets or []:
        fitting = [name for name in linear if fits(name, target)]
        if not fitting:
            raise StudyError(f"targets: '{target}' fits no linear module of a decoder layer; name one, as {linear[0]}")
        if closed := [name for name in fitting if f"{name}.weight" in secret]:
            open_ones = [name for name in linear if f"{name}.weight" not in secret]
            raise StudyError(
                f"targets: '{target}' fits {closed[0]}, which '{secured.declaration}' secures; name open modules"
                f"{f', as {open_ones[0]}' if open_ones else ''}"
            )
    names = [name for name in linear if f"{name}.weight" not in secret]
    names = [name for name in names if targets is None or any(fits(name, target) for target in targets)]
    if not names:
        raise StudyError(f"method: lora: '{secured.declaration}' leaves no decoder layer open; set method: full")
    return names


def fits(name: str, target: str) -> bool:
    """Does a module's name end in the target, part by part, as peft reads it?"""
    return name == target or name.endswith(f".{target}")


def open_stacks(model: nn.Module, secured: SecuredSet) -> list[str]:
    """Names of the stacks of experts' matrices, one parameter each, inside open decoder layers."""
    path, secret = decoder_layers(model)[0], set(secured.names)
    parameters = model.named_parameters()
    return [
        name for name, one in parameters if name.startswith(f"{path}.") and is_stack(one.shape) and name not in secret
    ]


def reach(model: nn.Module, secured: SecuredSet, targets: list[str] | None = None, experts: bool = False) -> str:
    """One line: the share of the weights in open layers' matrices that get an adapter, and the first one without.

    A stack of experts is no linear module, so it gets none unless `experts` are asked for.
    """
    reached = {f"{name}.weight" for name in open_matrices(model, secured, targets)}
    reached |= set(open_stacks(model, secured)) if experts else set()
    path, secret = decoder_layers(model)[0], set(secured.names)
    sizes = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if name.startswith(f"{path}.") and name not in secret and not is_vector(name, parameter.shape)
    }
    without = [name for name in sizes if name not in reached]
    share = 1 - sum(sizes[name] for name in without) / sum(sizes.values())
    return f"LoRA reaches {share:.1%} of the weights in open layers' matrices" + (
        f"; not {without[0]} and {len(without) - 1} more" if without else ""
    )


def wrapped(
    model: nn.Module,
    secured: SecuredSet,
    recipe: Recipe,
    targets: list[str] | None = None,
    experts: bool = False,
) -> tuple[peft.PeftModel, set[str]]:
    """The model with adapters on its open layers, and the names of the adapters' parameters.

    `experts`: on stacks of experts too, by peft's target_parameters (no dropout; several adapters on one model must all
    name the same stacks). Its first matrices come from torch's own generator: seed that before.
    """
    # Modules are named in full: peft reads an empty layer list as "all layers", secured ones included.
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=open_matrices(model, secured, targets),
        target_parameters=open_stacks(model, secured) if experts else None,
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, config)
    return adapted, {name for name, _ in adapted.named_parameters() if "lora_" in name}


def unwrapped(model: nn.Module, names: set[str]) -> tuple[nn.Module, set[str]]:
    """The model inside peft's wrapper, adapters and all, and these names in it; a plain model as it is."""
    if not isinstance(model, peft.PeftModel):
        return model, names
    return model.get_base_model(), {name.removeprefix(PREFIX) for name in names}


def size(model: nn.Module, secured: SecuredSet, rank: int) -> int:
    """Parameters of the adapters: rank x (inputs + outputs) of every open matrix."""
    return rank * sum(sum(model.get_submodule(name).weight.shape) for name in open_matrices(model, secured))
