"""The attacker's initial weights. Each tensor is drawn in float32 from (seed, name), so runs are comparable."""

import hashlib
import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from solid_utils.errors import StudyError


def generator(seed: int, name: str) -> torch.Generator:
    """A random stream of its own for every (seed, parameter name)."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def xavier(shape: torch.Size, stream: torch.Generator) -> torch.Tensor:
    """Xavier-uniform: U(-a, a), a = sqrt(6 / (fan_in + fan_out)) of the last two dimensions (paper 5.1)."""
    bound = math.sqrt(6 / (shape[-1] + shape[-2]))
    return torch.empty(shape).uniform_(-bound, bound, generator=stream)


def normal(shape: torch.Size, stream: torch.Generator) -> torch.Tensor:
    """N(0, 0.02), the initialisation of Transformers: it reproduces the paper's printed ceilings."""
    return torch.empty(shape).normal_(0.0, 0.02, generator=stream)


STARTS: dict[str, Callable[[torch.Size, torch.Generator], torch.Tensor]] = {"xavier": xavier, "normal_0.02": normal}


def architecture_vectors(model: PreTrainedModel, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Initial values of parameters with fewer than two dimensions (norms, biases), as the architecture sets them.

    Each owning module alone is materialised from the bare configuration, so no second model is held in memory.
    """
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(model.config)
    owners = {}
    for name in names:
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    values = {}
    for owner, members in owners.items():
        module = skeleton.get_submodule(owner).to_empty(device="cpu")
        skeleton._init_weights(module)
        for name in members:
            values[name] = getattr(module, name.rpartition(".")[2]).detach().float().clone()
    return values


def depends_on_set(start):
    return False


def draw(model: PreTrainedModel, names: Iterable[str], start: str, seed: int, secret=None, read=None) -> dict[str, torch.Tensor]:
    """Fresh float32 tensors for the named parameters of `model`, by the named start.

    Matrices are random; a stack of matrices (experts) is a stack of independent ones; vectors take the architecture's
    initial values. The values of `model` are never read. Raises StudyError on an unknown start.
    """
    if start not in STARTS:
        raise StudyError(f"start '{start}': unknown; choose one of {', '.join(STARTS)}")
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    vectors = architecture_vectors(model, [name for name in names if len(shapes[name]) < 2])
    return {
        name: vectors[name] if name in vectors else STARTS[start](shapes[name], generator(seed, name)) for name in names
    }


@torch.no_grad()
def apply(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Overwrite parameters of `model` in place."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameters[name].copy_(tensor)
