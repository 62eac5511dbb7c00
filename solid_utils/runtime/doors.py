"""Where the secured parameters of a model are used, and so what crosses between the two worlds.

A segment is a row of wholly secured decoder layers: a state enters it, a state leaves it. It begins at token ids where
all that stands before the layers is secured too, and shows nothing but logits where all that follows is. Any other
secured module (a matrix, embeddings or head alone, a norm) is a door of its own: its inputs enter, its outputs leave.
Such a lone door gives little shelter, see docs/deployment.md.

All is read off modules and one real forward, as in model/structure.py; both worlds come to the same doors.
"""

from dataclasses import dataclass

from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.model.structure import decoder_layers, ends, layer_parameters, parameters_after_layers


@dataclass(frozen=True)
class Segment:
    """Decoder layers `first` to `last`, all secured."""

    first: int
    last: int
    from_ids: bool = False  # token ids enter, not a state
    to_logits: bool = False  # what leaves stays inside until the head is asked for logits


@dataclass(frozen=True)
class Doors:
    """Every way into the secure world, in a fixed order: segments, then modules."""

    segments: tuple[Segment, ...]
    modules: tuple[str, ...]  # paths of modules that are doors of their own
    before: tuple[str, ...]  # paths of modules before the layers whose work a segment does
    after: tuple[str, ...]  # the same after the layers, without the head
    head: str  # path of the output head

    @property
    def to_logits(self) -> bool:
        return bool(self.segments) and self.segments[-1].to_logits


def doors(model: nn.Module, names: tuple[str, ...]) -> Doors:
    """The doors of these secured parameters. Values of parameters are not looked at.

    Raises StudyError where a module has both secured and open parameters of its own.
    """
    secret, inside, after = set(names), layer_parameters(model), parameters_after_layers(model)
    if foreign := sorted(secret - {name for name, _ in model.named_parameters()}):
        raise StudyError(f"secured: {foreign[0]} is no parameter of {type(model).__name__}; split the model again")
    head_names = ends(model, "head")
    before = {name for name, _ in model.named_parameters()} - after - {name for own in inside for name in own}
    whole = [number for number, own in enumerate(inside) if own and secret.issuperset(own)]
    from_ids = 0 in whole and before <= secret
    to_logits = len(inside) - 1 in whole and after | head_names <= secret
    segments = tuple(
        Segment(first, last, from_ids and first == 0, to_logits and last == len(inside) - 1)
        for first, last in rows(whole)
    )
    head = path_of(model, model.get_output_embeddings())
    done_before = owners(model, before) - {head} if from_ids else set()
    done_after = owners(model, after) - {head} if to_logits else set()
    covered = done_before | done_after | ({head} if to_logits else set())
    path, _ = decoder_layers(model)
    in_layers = tuple(f"{path}.{number}." for number in whole)
    lone = [one for one in sorted(owners(model, secret)) if one not in covered and not one.startswith(in_layers)]
    for one in lone:
        check_whole(model, one, secret)
    return Doors(segments, tuple(lone), tuple(sorted(done_before)), tuple(sorted(done_after)), head)


def rows(numbers: list[int]) -> list[tuple[int, int]]:
    """First and last of each row of consecutive numbers."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def owners(model: nn.Module, names: set[str]) -> set[str]:
    """Paths of the modules that hold these parameters themselves; a tied head holds the embeddings' too."""
    wanted = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    return {
        path
        for path, module in model.named_modules()
        if any(id(parameter) in wanted for parameter in module.parameters(recurse=False))
    }


def path_of(model: nn.Module, wanted: nn.Module | None) -> str:
    """The path of a module of the model."""
    for path, module in model.named_modules():
        if module is wanted:
            return path
    raise StudyError(f"model: {type(model).__name__} has no output head; use a causal language model")


def check_whole(model: nn.Module, path: str, secret: set[str]) -> None:
    """Raises StudyError where only a part of a module's own parameters is secured."""
    module = model.get_submodule(path)
    hidden = {id(parameter) for name, parameter in model.named_parameters() if name in secret}
    shown = [name for name, own in module.named_parameters(recurse=False) if id(own) not in hidden]
    if shown:
        raise StudyError(f"secured: {path} is secured but its {shown[0]} is not; secure both, or neither")
