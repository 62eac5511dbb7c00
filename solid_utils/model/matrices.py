"""The matrices inside a decoder layer by role: q, k, v, o (attention), gate, up, down (MLP).

Roles are read off the module paths, with the field's usual names in one table, never off a model class. A role is a
projection's matrix together with its bias: they are one linear map.
"""

import torch
from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.settings.grammar import ROLES

ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v"} | dict.fromkeys(
    ("o_proj", "out_proj", "dense", "c_proj"), "o"
)
MLP = {
    "gate_proj": "gate",
    **dict.fromkeys(("up_proj", "fc1", "fc_in", "c_fc", "dense_h_to_4h"), "up"),
    **dict.fromkeys(("down_proj", "fc2", "fc_out", "c_proj", "dense_4h_to_h"), "down"),
    "out_proj": "o",  # a mixer without attention (state space, convolution) writes to the residual stream like o
}
FUSED = {name: ("q", "k", "v") for name in ("c_attn", "query_key_value", "qkv_proj", "Wqkv")} | {
    "gate_up_proj": ("gate", "up")
}


def is_vector(name: str, shape: torch.Size) -> bool:
    """Norms and biases. A stack of the experts' biases has two dimensions and is still no matrix."""
    return len(shape) < 2 or name.endswith("bias")


def is_stack(shape: torch.Size) -> bool:
    """The matrices of all experts of a layer, (experts, rows, columns) or (experts, columns, rows)."""
    return len(shape) > 2


def projection(name: str) -> str:
    """Path of the linear map a parameter belongs to; a stack of experts is a parameter without a module of its own."""
    owner, _, leaf = name.rpartition(".")
    return owner if leaf in ("weight", "bias") else name.removesuffix("_bias")


def role_of(name: str) -> str | None:
    """Role of a parameter, by its name; None when it has none (norms, routers, fused matrices)."""
    *parents, last = projection(name).split(".")
    return (ATTENTION if any("attn" in parent or "attention" in parent for parent in parents) else MLP).get(last)


def role_names(layer: nn.Module, role: str, key: str, instead: str) -> list[str]:
    """Names inside `layer` of one role's matrix and bias, in the model's order.

    Raises StudyError (`key`: what is wrong; secure `instead`) where the role is no matrix of its own: fused with
    others, stacked over experts, there more than once, or not there.
    """
    shapes = {name: parameter.shape for name, parameter in layer.named_parameters()}
    own = [name for name in shapes if role_of(name) == role]
    fused = [name for name in shapes if role in FUSED.get(projection(name).rpartition(".")[2], ())]
    # Stacks first: the experts' gate and up are often fused as well, and then the stack is what is in the way.
    stacks = [name for name in fused + own if is_stack(shapes[name])]
    maps = sorted({projection(name) for name in own})
    if stacks:
        wrong = f"{role} of all experts is one stack, {projection(stacks[0])}"
    elif fused:
        wrong = f"{role} is fused into {projection(fused[0])}"
    elif len(maps) > 1:
        wrong = f"{role} is {len(maps)} matrices, {' and '.join(maps[:2])}{' among them' if maps[2:] else ''}"
    elif not own:
        known = [known for known in ROLES if any(role_of(name) == known for name in shapes)]
        wrong = f"no matrix is known as {role}; known: {', '.join(known) or 'none'}"
    else:
        return own
    raise StudyError(f"{key}: in {type(layer).__name__} {wrong}; secure '{instead}' instead")
