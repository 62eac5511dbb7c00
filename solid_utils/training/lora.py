"""LoRA on the open decoder layers of a deployment (Hu et al. 2021, arXiv:2106.09685), by peft."""

import peft
from torch import nn
from transformers.pytorch_utils import Conv1D

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.matrices import is_vector
from solid_utils.model.structure import decoder_layers
from solid_utils.settings.params import Recipe

PREFIX = "base_model.model."  # of the names of a wrapped model's own parameters


def open_matrices(model: nn.Module, secured: SecuredSet) -> list[str]:
    """Names of the linear modules inside open decoder layers. Raises StudyError when every layer is secured."""
    path, _ = decoder_layers(model)
    names = [
        name
        for name, module in model.named_modules()
        if name.startswith(f"{path}.")
        and isinstance(module, nn.Linear | Conv1D)
        and f"{name}.weight" not in secured.names
    ]
    if not names:
        raise StudyError(f"method: lora: '{secured.declaration}' leaves no decoder layer open; set method: full")
    return names


def reach(model: nn.Module, secured: SecuredSet) -> str:
    """One line: the share of the weights in open layers' matrices that get an adapter, and the first one without.

    A stack of experts is no linear module, so it gets none.
    """
    reached = {f"{name}.weight" for name in open_matrices(model, secured)}
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


def wrapped(model: nn.Module, secured: SecuredSet, recipe: Recipe) -> tuple[peft.PeftModel, set[str]]:
    """The model with adapters on its open layers, and the names of the adapters' parameters.

    Its first matrices come from torch's own generator: seed that before.
    """
    # Modules are named in full: peft reads an empty layer list as "all layers", secured ones included.
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=open_matrices(model, secured),
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, config)
    return adapted, {name for name, _ in adapted.named_parameters() if "lora_" in name}


def size(model: nn.Module, secured: SecuredSet, rank: int) -> int:
    """Parameters of the adapters: rank x (inputs + outputs) of every open matrix."""
    return rank * sum(sum(model.get_submodule(name).weight.shape) for name in open_matrices(model, secured))
