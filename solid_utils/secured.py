"""Secured sets: which parameters are secret. One line declares any set; deployments are rules on top (paper 4, B.3)."""

import re
from dataclasses import dataclass

import torch
from torch import nn

from solid_utils.errors import StudyError

DEPLOYMENTS = ("solid", "darknetz", "sap", "sap_dp", "fully_secured", "fully_open")
SAP_OPEN_LAYERS = 6  # the paper, B.3: "keeps the bottom six encoder layers open"
LAPLACE_SCALE = 0.5  # the paper, B.3: Laplace(0, 0.5) on the logits of sap_dp


def decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder layers, by structure: the outermost ModuleList as long as the model is deep."""
    depth = model.config.get_text_config().num_hidden_layers
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return path, module
    raise StudyError(
        f"{type(model).__name__}: no list of {depth} decoder layers found; this architecture is not supported"
    )


def parameters_after_layers(model: nn.Module) -> set[str]:
    """Names of parameters used only after the last decoder layer (final norm, untied head), found by one real forward.

    Tied weights count where they are used first, so a tied head belongs to the embeddings and is not returned.
    """
    _, layers = decoder_layers(model)
    done, used_before, used_after = [False], set(), set()
    inside = {id(module) for layer in layers for module in layer.modules()}

    def record(module, _):
        if id(module) not in inside:
            used = {id(parameter) for parameter in module.parameters(recurse=False)}
            (used_after if done[0] else used_before).update(used)

    def finished(*_):
        done[0] = True

    hooks = [module.register_forward_pre_hook(record) for module in model.modules()]
    hooks.append(layers[-1].register_forward_hook(finished))
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([[0, 1, 2]], device=next(model.parameters()).device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name for name, parameter in model.named_parameters() if id(parameter) in used_after - used_before}


@dataclass(frozen=True)
class SecuredSet:
    """The secret parameters of one model, by name."""

    declaration: str  # one line that declares it, e.g. "layers 0-3"
    names: tuple[str, ...]  # parameter names, in the model's order
    layers: tuple[int, ...]  # decoder layers that are wholly secret
    only_layers: bool  # nothing else is secret: no embeddings, norm or head
    parameters: int  # how many scalars are secret
    total: int  # how many the model has

    @property
    def share(self) -> float:
        return self.parameters / self.total

    @property
    def is_whole_model(self) -> bool:
        return self.parameters == self.total

    @property
    def is_bottom(self) -> bool:
        """Only decoder layers, from layer 0 upwards without a gap: the open part can compute all that comes after."""
        return bool(self.layers) and self.only_layers and self.layers == tuple(range(len(self.layers)))


def secured_set(model: nn.Module, declaration: str, l_star: int | None = None) -> SecuredSet:
    """Parse a declaration: a deployment's name, "all", "none", or terms joined by "+".

    Terms: "layers 0-3", "layers 0,5", "bottom 2", "top 2", "embeddings", "head". `l_star` is SOLID's search result.
    Raises StudyError on an unknown name, a layer that does not exist, or an empty set.
    """
    parameters = dict(model.named_parameters())
    path, layers = decoder_layers(model)
    depth, text = len(layers), rule(declaration, len(layers), l_star)
    if text == "all":
        return build(declaration, list(parameters), range(depth), path, parameters)
    if text == "none":
        return build(declaration, [], (), path, parameters)
    chosen, extra = set(), set()
    for term in (part.strip() for part in text.split("+")):
        if term == "rest after layers":
            extra |= parameters_after_layers(model)
        elif term in ("embeddings", "head"):
            extra |= ends(model, parameters, term, declaration)
        else:
            chosen |= layer_numbers(term, depth, declaration)
    names = [
        name
        for name in parameters
        if name in extra or any(name.startswith(f"{path}.{layer}.") for layer in sorted(chosen))
    ]
    if not names:
        raise StudyError(f"secured set '{declaration}': empty; name at least one layer, or use fully_open")
    return build(declaration, names, sorted(chosen), path, parameters)


def build(declaration: str, names: list[str], layers, path: str, parameters: dict[str, nn.Parameter]) -> SecuredSet:
    secret, total = sum(parameters[name].numel() for name in names), sum(p.numel() for p in parameters.values())
    only_layers = bool(names) and all(name.startswith(f"{path}.") for name in names)
    return SecuredSet(declaration, tuple(names), tuple(layers), only_layers, secret, total)


def rule(declaration: str, depth: int, l_star: int | None) -> str:
    """Replace a deployment's name by the set it stands for."""
    if declaration == "solid":
        if l_star is None:
            raise StudyError("secured set 'solid': needs the result of the SOLID search; run `dvc repro dd` first")
        return f"bottom {l_star}"
    if declaration in ("sap", "sap_dp"):
        if depth <= SAP_OPEN_LAYERS:
            raise StudyError(
                f"secured set '{declaration}': needs more than {SAP_OPEN_LAYERS} decoder layers, the model has {depth}"
            )
        return f"layers {SAP_OPEN_LAYERS}-{depth - 1} + rest after layers"
    return {"darknetz": "top 1", "fully_secured": "all", "fully_open": "none"}.get(declaration, declaration)


def layer_numbers(term: str, depth: int, declaration: str) -> set[int]:
    """Layer numbers of one term. Raises StudyError on bad grammar or a layer that does not exist."""
    if match := re.fullmatch(r"(bottom|top) (\d+)", term):
        count = int(match[2])
        numbers = set(range(count)) if match[1] == "bottom" else set(range(depth - count, depth))
    elif match := re.fullmatch(r"layers? ([\d,\s-]+)", term):
        numbers = set()
        for piece in match[1].split(","):
            first, _, last = piece.strip().partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    else:
        raise StudyError(
            f"secured set '{declaration}': '{term}' not understood; write layers 0-3, layers 0,5, bottom 2, top 2, "
            f"embeddings, head, all, or one of {', '.join(DEPLOYMENTS)}"
        )
    if wrong := sorted(number for number in numbers if not 0 <= number < depth):
        raise StudyError(f"secured set '{declaration}': layer {wrong[0]} does not exist; layers are 0 to {depth - 1}")
    if not numbers:
        raise StudyError(f"secured set '{declaration}': empty; name at least one layer, or use fully_open")
    return numbers


def ends(model: nn.Module, parameters: dict, term: str, declaration: str) -> set[str]:
    """Parameter names of the token embeddings or of the head. Raises StudyError for the head alone when it is tied."""
    module = model.get_input_embeddings() if term == "embeddings" else model.get_output_embeddings()
    own = {id(parameter) for parameter in module.parameters()}
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if term == "head" and tied and "embeddings" not in declaration:
        raise StudyError(f"secured set '{declaration}': the head is tied to the embeddings; secure 'embeddings + head'")
    return {name for name, parameter in parameters.items() if id(parameter) in own}
