"""LoRA on the open decoder layers of a deployment (Hu et al. 2021, arXiv:2106.09685), by peft."""

import peft
from torch import nn
from transformers.pytorch_utils import Conv1D

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
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
