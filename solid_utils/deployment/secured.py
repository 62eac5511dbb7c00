"""Secured sets: which parameters are secret. One line declares any set; deployments are rules on top (paper 4, B.3)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.model.matrices import is_vector, role_names
from solid_utils.model.structure import decoder_layers, ends, is_tied, layer_parameters, parameters_after_layers
from solid_utils.settings.grammar import DEPLOYMENTS, FIRST, LAYERS, flaw, noise, terms

UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class SecuredSet:
    """The secret parameters of one model, by name."""

    declaration: str  # one line that declares it, e.g. "layers 0-3"
    names: tuple[str, ...]  # parameter names, in the model's order
    layers: tuple[int, ...]  # decoder layers that are wholly secret
    only_layers: bool  # nothing but these whole layers is secret: no single matrix, embeddings, norm or head
    parameters: int  # how many scalars are secret
    total: int  # how many the model has

    @property
    def share(self) -> float:
        return self.parameters / self.total

    @property
    def noise(self) -> float:
        """Scale of the Laplace noise on the deployment's logits."""
        return noise(self.declaration)

    @property
    def is_whole_model(self) -> bool:
        return self.parameters == self.total


def secured_set(model: nn.Module, declaration: str, l_star: int | None = None) -> SecuredSet:
    """Parse a declaration: a deployment's name, "all", "none", or terms joined by "+". `l_star` is SOLID's result.

    - "layers 0-3", "layers 0,5", "bottom 2", "top 2": whole decoder layers.
    - The same with roles, "layer 0 q,k,v", "bottom 2 gate,up": of these layers only the matrices (with their biases)
      q, k, v, o, gate, up, down (the paper, Table 10: Wq, Wk, Wv, Wo, MLP).
    - "first 20M", "first 500K", "first 3%": the bottom-most matrices up to so many parameters, or up to this share of
      all the model's parameters (the paper, 4.2, Figures 4b and 8, Table 10); see `first`.
    - "embeddings", "head". Tied, they are one tensor: "embeddings" secures the head too (see `note`), and "head" alone
      is refused, because its weight could be read off the open embeddings.

    Raises StudyError on an unknown name, a layer or matrix that does not exist, a size too small, or an empty set.
    """
    parameters = dict(model.named_parameters())
    text, chosen = rule(declaration, len(decoder_layers(model)[1]), l_star), set()
    if text == "all":
        chosen = set(parameters)
    elif text != "none":
        for term in terms(text):
            chosen |= term_names(model, term, declaration)
    return build(model, declaration, chosen)


def build(model: nn.Module, declaration: str, chosen: set[str]) -> SecuredSet:
    """The secured set of these parameter names. A decoder layer counts when every parameter of it is secret."""
    parameters = dict(model.named_parameters())
    names = tuple(name for name in parameters if name in chosen)
    inside = layer_parameters(model)
    whole = tuple(index for index, own in enumerate(inside) if chosen.issuperset(own))
    only_layers = bool(names) and len(names) == sum(len(inside[index]) for index in whole)
    secret, total = sum(parameters[name].numel() for name in names), sum(p.numel() for p in parameters.values())
    return SecuredSet(declaration, names, whole, only_layers, secret, total)


def note(model: nn.Module, chosen: SecuredSet) -> str:
    """One line on what the names alone do not say: a tied head is secret with the embeddings. Mostly empty."""
    if not is_tied(model) or not ends(model, "embeddings") & set(chosen.names):
        return ""
    return "the head is tied to the embeddings, so it is the same tensor and secret too"


def rule(declaration: str, depth: int, l_star: int | None) -> str:
    """Replace a deployment's name by the set it stands for (settings/grammar.py)."""
    return DEPLOYMENTS[declaration].rule(depth, l_star) if declaration in DEPLOYMENTS else declaration


def term_names(model: nn.Module, term: str, declaration: str) -> set[str]:
    """Parameter names of one term. Raises StudyError on bad grammar, or what `first`, `ends` and the roles refuse."""
    key, (path, layers) = f"secured set '{declaration}'", decoder_layers(model)
    if term == "rest after layers":
        return parameters_after_layers(model)
    if term in ("embeddings", "head"):
        if term == "head" and is_tied(model) and "embeddings" not in declaration:
            raise StudyError(f"{key}: the head is tied to the embeddings; secure 'embeddings + head'")
        return ends(model, term)
    if wrong := flaw(term):
        raise StudyError(f"{key}: '{term}': {wrong}")
    if match := re.fullmatch(FIRST, term):
        return first(model, *match.groups(), key)
    match = re.fullmatch(LAYERS, term)
    numbers, roles = layer_numbers(match[1], len(layers), key), re.split(r"\s*,\s*", match[2]) if match[2] else []
    if not roles:
        inside = layer_parameters(model)
        return {name for number in numbers for name in inside[number]}
    inside = {number: [role_names(layers[number], role, key, match[1]) for role in roles] for number in sorted(numbers)}
    return {f"{path}.{number}.{name}" for number, by_role in inside.items() for names in by_role for name in names}


def layer_numbers(term: str, depth: int, key: str) -> set[int]:
    """Layer numbers of a term without its roles. Raises StudyError on a layer that does not exist."""
    kind, _, rest = term.partition(" ")
    if kind in ("bottom", "top"):
        numbers = set(range(int(rest)) if kind == "bottom" else range(depth - int(rest), depth))
    else:
        pieces = [piece.partition("-") for piece in rest.split(",")]
        numbers = {number for low, _, high in pieces for number in range(int(low), int(high or low) + 1)}
    if wrong := sorted(number for number in numbers if not 0 <= number < depth):
        raise StudyError(f"{key}: layer {wrong[0]} does not exist; layers are 0 to {depth - 1}")
    return numbers


def first(model: nn.Module, number: str, unit: str, key: str) -> set[str]:
    """The bottom-most matrices up to a budget: `number` parameters (unit K, M, B or none), or percent of the model.

    Goes up from layer 0 in the model's order, stops at the first matrix that does not fit. A layer's norms join after
    its last matrix, so the exact size of the bottom k layers gives the same names as "bottom k". Embeddings, final
    norm and head join only when the budget holds the whole model ("first 100%" is "all").
    Raises StudyError when the first matrix does not fit.
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total, names = sum(sizes.values()), set()
    budget = Fraction(number) * (Fraction(total, 100) if unit == "%" else UNITS[unit])  # exact, so "first 100%" is all
    if budget >= total:
        return set(sizes)
    for together in bottom_up(model):
        size = sum(sizes[name] for name in together)
        if size > budget and not names:
            raise StudyError(f"{key}: too small for the first matrix, {together[0]}; write first {size} or more")
        if size > budget:
            break
        names, budget = names | set(together), budget - size
    return names


def bottom_up(model: nn.Module) -> Iterable[list[str]]:
    """Names that are secured together, from layer 0 up: each matrix with the vectors of its module (those of several
    matrices go with the first), and after a layer's matrices its other vectors, the norms."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for inside in layer_parameters(model):
        units = {name: [name] for name in inside if not is_vector(name, shapes[name])}
        owners = {name.rpartition(".")[0]: unit for name, unit in reversed(units.items())}
        norms = []
        for name in inside:
            if name not in units:
                owners.get(name.rpartition(".")[0], norms).append(name)
        yield from units.values()
        if norms:
            yield norms
