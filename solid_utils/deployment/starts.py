"""The attacker's initial weights. Each tensor is float32 and depends on (seed, name), so runs are comparable.

The starts of the paper draw from nothing (its text: Xavier; its printed ceilings: N(0, 0.02)). The others ask what an
attacker gains who uses what lies open: the scale of the open layers, copies of them, no layer at all (with or without a
neighbour's norms and biases), or the public model that the victim was fine-tuned from.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from statistics import fmean

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.model.matrices import is_stack, is_vector, role_of
from solid_utils.model.structure import decoder_layers, layer_parameters


def generator(seed: int, name: str) -> torch.Generator:
    """A random stream of its own for every (seed, parameter name)."""
    # sha256, not hash(), which Python salts anew in every process. A stream for each name, so what one tensor gets does
    # not depend on which others are drawn: nested secured sets share their random layers.
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def xavier(shape: torch.Size, stream: torch.Generator) -> Tensor:
    """Xavier-uniform: U(-a, a), a = sqrt(6 / (fan_in + fan_out)) of the last two dimensions (paper 5.1)."""
    bound = math.sqrt(6 / (shape[-1] + shape[-2]))
    return torch.empty(shape).uniform_(-bound, bound, generator=stream)


def normal(shape: torch.Size, stream: torch.Generator, scale: float = 0.02) -> Tensor:
    """N(0, 0.02), the initialisation of Transformers: it reproduces the paper's printed ceilings."""
    return torch.empty(shape).normal_(0.0, scale, generator=stream)


def architecture_vectors(model: PreTrainedModel, names: Iterable[str], seed: int = 0) -> dict[str, Tensor]:
    """Initial float32 values of the named norms and biases, as the architecture sets them, whatever it stores (1 or w).

    Each module that owns one is copied without its values (vectors unset, matrices on the meta device) and initialised
    by the model's own rule: no second model is built, no value is read, and `model` may be on the meta device itself.
    `seed` is for the rare architecture that draws its vectors. Raises StudyError where that rule leaves one out.
    """
    owners: dict[str, list[str]] = {}
    for name in names:
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    values = {}
    for owner, members in owners.items():
        # A second model for every start took 17 ms a draw at 30 layers.
        twin = blank(model.get_submodule(owner))
        with torch.random.fork_rng(devices=[]):
            # The model's rule draws from torch's own stream, which the fork leaves as it was.
            torch.default_generator.manual_seed(generator(seed, owner).initial_seed())
            model._init_weights(twin)
        values |= {name: getattr(twin, name.rpartition(".")[2]).data for name in members}
    if unset := [name for name, value in values.items() if value.isnan().any()]:
        raise StudyError(f"start: {type(model).__name__} has no rule for {unset[0]}; secure a set without it")
    return values


def blank(module: nn.Module) -> nn.Module:
    """A copy of one module whose parameters have no values yet: vectors not a number, matrices on the meta device."""

    def unset(name: str, parameter: nn.Parameter) -> nn.Parameter:
        device = "cpu" if is_vector(name, parameter.shape) else "meta"
        values = torch.full(parameter.shape, math.nan, dtype=torch.float32, device=device)
        return nn.Parameter(values, requires_grad=False)

    return copy.deepcopy(module, {id(old): unset(name, old) for name, old in module.named_parameters()})


class StartMaker:
    """For one call of `draw`: what the attacker knows of the victim, and the starts that are made of it, by name."""

    def __init__(
        self,
        model: PreTrainedModel,
        names: list[str],
        seed: int,
        secret: Iterable[str],
        read: Callable[[str], Tensor],
        base: Callable[[str], Tensor | None] | None,
    ):
        self.model = model
        self.seed = seed
        self.read = read
        self.base = base
        self.secret = {*secret, *names}  # what is being drawn is never read either
        vectors = [name for name in names if is_vector(name, self.shape(name))]
        self.vectors = architecture_vectors(model, vectors, seed)
        self.averages: dict[tuple, Tensor | float] = {}

    def shape(self, name: str) -> torch.Size | None:
        """Of a parameter; None where the model has none of that name (layers may differ).

        Looked up one by one: a sweep draws tensor by tensor, and a list of all 270 took as long as the draw.
        """
        try:
            return self.model.get_parameter(name).shape
        except AttributeError:
            return None

    def fresh(self, name: str, matrix: Callable[[torch.Size, torch.Generator], Tensor]) -> Tensor:
        """A random matrix, or the architecture's initial vector."""
        return self.vectors[name] if name in self.vectors else matrix(self.shape(name), generator(self.seed, name))

    def xavier(self, name: str) -> Tensor:
        return self.fresh(name, xavier)

    def normal(self, name: str) -> Tensor:
        return self.fresh(name, normal)

    def scale_matched(self, name: str) -> Tensor:
        """Matrices N(0, s^2), s the root mean square of the same matrix in the open layers; vectors: their mean there.

        Both are averaged over the open layers. As `normal` where none is open (embeddings, head, all secret).
        """
        if not (siblings := self.siblings(name)):
            return self.normal(name)
        place = (self.place(name)[1], self.shape(name))
        if place not in self.averages:  # the same for every layer: what is drawn is not open
            average_of = mean if name in self.vectors else mean_rms
            self.averages[place] = average_of(self.open(sibling) for sibling in siblings)
        average = self.averages[place]
        return average.clone() if name in self.vectors else self.fresh(name, lambda *at: normal(*at, scale=average))

    def neighbour_copy(self, name: str) -> Tensor:
        """The same tensor of the nearest layer where it is open, of two equally near the one above (above a bottom set
        all is open). As `normal` where none is open."""
        siblings = self.siblings(name)
        return self.open(siblings[0]).to("cpu", torch.float32, copy=True) if siblings else self.normal(name)

    def skip(self, name: str) -> Tensor:
        """As `normal`, but what writes to the residual stream (o, down, of every expert) is zero.

        A pre-norm layer then hands its input on exactly; a post-norm one (early OPT) still normalises it. The identity
        needs the layer's o and down among the drawn.
        """
        return torch.zeros(self.shape(name)) if self.writes(name) and name not in self.vectors else self.normal(name)

    def skip_neighbour(self, name: str) -> Tensor:
        """As `skip`, with the vectors (norms, biases) of the nearest layer where they are open, see `neighbour_copy`.

        Made for gains that training has moved far from 1 (Gemma's norms after attention and MLP reach 377). There it
        helps the first layer alone, above it Xavier ends nearer (docs/scale.md). The biases of o and down write to the
        residual stream: they begin as in `skip`, or a layer would not hand its input on.
        Raises StudyError where no other layer has the vector open.
        """
        if name not in self.vectors or not self.place(name) or self.writes(name):
            return self.skip(name)
        if not (siblings := self.siblings(name)):
            raise StudyError(
                f"start 'skip_neighbour': no open decoder layer has a {self.place(name)[1]} to copy; use start: skip"
            )
        return self.open(siblings[0]).to("cpu", torch.float32, copy=True)

    def public_base(self, name: str) -> Tensor:
        """The same tensor of the public model that the victim was fine-tuned from."""
        if self.base is None:
            raise StudyError("start 'public_base': no public base is known; name one (models.NAME.base in params.yaml)")
        value = self.base(name)
        if value is None or value.shape != self.shape(name):
            wrong = "missing" if value is None else f"of shape {tuple(value.shape)}, not {tuple(self.shape(name))},"
            raise StudyError(
                f"start 'public_base': {name} is {wrong} in the base; name the model the victim was fine-tuned from"
            )
        return value.detach().to("cpu", torch.float32, copy=True)  # a copy: what is trained must not change the base

    def writes(self, name: str) -> bool:
        """Is it a matrix or bias of what a layer adds to the residual stream?"""
        return role_of(name) in ("o", "down") and self.place(name) is not None

    def place(self, name: str) -> tuple[int, str] | None:
        """Layer and name inside it; None outside the decoder layers."""
        path = decoder_layers(self.model)[0]
        layer, _, rest = name.removeprefix(f"{path}.").partition(".")
        return (int(layer), rest) if name.startswith(f"{path}.") else None

    def siblings(self, name: str) -> list[str]:
        """Open tensors of this name and shape in other layers, nearest first, the one above before the one below."""
        if not (place := self.place(name)):
            return []
        path, layers = decoder_layers(self.model)
        names = {number: f"{path}.{number}.{place[1]}" for number in range(len(layers))}
        numbers = [
            number
            for number, other in names.items()
            if other not in self.secret and self.shape(other) == self.shape(name)
        ]
        return [names[number] for number in sorted(numbers, key=lambda at: (abs(at - place[0]), -at))]

    def open(self, name: str) -> Tensor:
        """Value of an open parameter. Raises StudyError where there is none to read."""
        value = self.read(name).detach()
        if value.is_meta:
            raise StudyError(f"start: {name} has no value on the meta device; give draw a `read` that loads it")
        return value


def mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack([value.to("cpu", torch.float32) for value in values]).mean(0)


def mean_rms(values: Iterable[Tensor]) -> float:
    """Root mean square of each tensor's scalars, averaged over the tensors; holds one at a time."""
    norm = partial(torch.linalg.vector_norm, dtype=torch.float32)
    return fmean(norm(value).item() / math.sqrt(value.numel()) for value in values)


STARTS: dict[str, Callable[[StartMaker, str], Tensor]] = {
    "xavier": StartMaker.xavier,
    "normal_0.02": StartMaker.normal,
    "scale_matched": StartMaker.scale_matched,
    "neighbour_copy": StartMaker.neighbour_copy,
    "skip": StartMaker.skip,
    "skip_neighbour": StartMaker.skip_neighbour,
    "public_base": StartMaker.public_base,
}
# Those that need neither another model nor an open layer: what a search through all sets may begin with.
UNAIDED = tuple(start for start in STARTS if start not in ("public_base", "skip_neighbour"))
SET_AWARE = {"scale_matched", "neighbour_copy", "skip_neighbour"}


def depends_on_set(start: str) -> bool:
    """Does a tensor's start depend on which others are open? Then nested secured sets share no draws.

    Raises StudyError on an unknown start.
    """
    if start not in STARTS:
        raise StudyError(f"start '{start}': unknown; choose one of {', '.join(STARTS)}")
    return start in SET_AWARE


def draw(
    model: PreTrainedModel,
    names: Iterable[str],
    start: str,
    seed: int,
    secret: Iterable[str] | None = None,
    read: Callable[[str], Tensor] | None = None,
    base: Callable[[str], Tensor | None] | None = None,
) -> dict[str, Tensor]:
    """Fresh float32 tensors for the named parameters of `model`, by the named start.

    Matrices are random; a stack of matrices (experts) is a stack of independent ones; vectors take the architecture's
    initial values. Values of `secret` (all names of the secured set; `names` when not given) are never read. Those of
    open parameters are, by `read`, and only where the start depends on the set; without `read` they come from `model`,
    which may otherwise be on the meta device. `base` yields the tensors of a public base (None: it has none of that
    name) for "public_base"; drawn for the whole model that start is the base itself, the no-theft baseline.
    Raises StudyError on an unknown start, a base that is not given or does not fit, where "skip" cannot tell by name
    what writes to the residual stream, or where "skip_neighbour" finds no open layer.
    """
    depends_on_set(start)
    names = list(names)
    if start in ("skip", "skip_neighbour"):
        check_skip(model, names, start)
    maker = StartMaker(model, names, seed, secret or (), read or model.get_parameter, base)
    return {name: STARTS[start](maker, name) for name in names}


def check_skip(model: PreTrainedModel, names: list[str], start: str) -> None:
    """Raises StudyError when a layer to be skipped has no known o or down matrix, or experts without a known down."""
    shapes, chosen = {name: parameter.shape for name, parameter in model.named_parameters()}, set(names)
    for number, inside in enumerate(layer_parameters(model)):
        if chosen.isdisjoint(inside):
            continue
        roles = {role_of(name) for name in inside}
        experts = {role_of(name) for name in inside if is_stack(shapes[name])}
        if not {"o", "down"} <= roles or (experts and "down" not in experts):
            raise StudyError(
                f"start '{start}': what layer {number} of {type(model).__name__} adds to the residual stream is not "
                "known by name; choose another start"
            )


@torch.no_grad()
def apply(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Overwrite parameters of `model` in place."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameters[name].copy_(tensor)
