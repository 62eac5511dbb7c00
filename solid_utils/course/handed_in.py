"""The file that a student hands in: layer 0 of a replica, a linear map in its place, or a map and a layer beside it.

Three forms, told by the names of the tensors, as the attacks of this package write their replicas:

    layer          every tensor of layer 0, by its name and in its shape in the model
    map            `stitch`, (2 + k * width, width): one linear map of the states of k tokens (attacks/linear_map.py)
    map and layer  `map`, of that shape, and every tensor of layer 0, which add up (attacks/beside_map.py)

Its metadata may say `queries` and `cpu_minutes`. Nothing in it is trusted: a pickle is not opened, other tensors than
these are refused, numbers that are none too.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.attacks.beside_map import MAP, Branch
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import view
from solid_utils.model import models, tensors

STITCH = "stitch"
PICKLES = (b"PK\x03\x04", b"\x80")  # torch.save: a zip of pickles, or a pickle
COUNT = re.compile(r"[0-9]{1,9}")
NUMBER = re.compile(r"[0-9]{1,9}[.][0-9]{1,9}")
FORMS = "hand in every tensor of layer 0, or `stitch`, or `map` and every tensor of layer 0"


@dataclass(frozen=True)
class HandedIn:
    """Tensors of layer 0 by name (none of a bare map), the map (features, width) or None, and the file's metadata."""

    layer: dict[str, Tensor]
    map: Tensor | None
    said: dict[str, str]

    @property
    def form(self) -> str:
        parts = ["map"] * (self.map is not None) + ["layer"] * bool(self.layer)
        return " and ".join(parts)

    @property
    def numbers(self) -> int:
        """Scalars in the file."""
        return sum(one.numel() for one in (*self.layer.values(), *([] if self.map is None else [self.map])))

    def count(self, name: str) -> int | None:
        """A whole number of the metadata; None where it says none."""
        return int(self.said[name]) if COUNT.fullmatch(self.said.get(name, "")) else None

    def number(self, name: str) -> float | None:
        """The same where parts of one count too, as of minutes: "4.5"."""
        parts = NUMBER.fullmatch(self.said.get(name, ""))
        return float(self.said[name]) if parts else self.count(name)


def read(path: Path, victim: PreTrainedModel, secured: SecuredSet) -> HandedIn:
    """The tensors of a file, checked. Raises StudyError, which names file and tensor, for whatever else it holds."""
    refuse_pickle(path)
    stored = tensors.Stored(path, numbers=True)
    names = set(stored.keys())
    layer = names & set(secured.names)
    beside = names - layer
    if not names:
        raise StudyError(f"{path}: no tensor in it; {FORMS}")
    if foreign := sorted(beside - {STITCH, MAP}):
        what = "is open in this deployment" if foreign[0] in dict(victim.named_parameters()) else "is unknown"
        raise StudyError(f"{path}: {foreign[0]} {what}; {FORMS}")
    if (missing := sorted(set(secured.names) - layer)) and beside != {STITCH}:
        raise StudyError(f"{path}: no {missing[0]} in it; {FORMS}")
    if len(beside) > 1 or (layer and STITCH in beside):
        raise StudyError(f"{path}: `stitch` stands alone, in place of the layer; {FORMS}")
    shapes = {name: tuple(victim.get_parameter(name).shape) for name in layer}
    for name in sorted(names):
        check_type(path, name, stored)
        if name in shapes and stored.shapes[name] != shapes[name]:
            raise StudyError(
                f"{path}: {name} is of shape {stored.shapes[name]}, the model's is {shapes[name]}; mend it"
            )
        if name not in shapes:
            check_map(path, name, stored.shapes[name], victim.config.get_text_config().hidden_size)
    found = {name: stored.get_tensor(name) for name in sorted(layer)}
    maps = [stored.get_tensor(name).float() for name in beside]
    return HandedIn(found, maps[0] if maps else None, stored.file.metadata() or {})


def refuse_pickle(path: Path) -> None:
    """Raises StudyError for what torch.save writes: opening it would run its code."""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(9)
        if start.startswith(PICKLES) and start[8:] != b"{":  # behind the length of a safetensors header stands a brace
            raise StudyError(
                f"{path}: a pickle, which is code and is not opened; save it with safetensors.torch.save_file"
            )


def check_type(path: Path, name: str, stored: tensors.Stored) -> None:
    """Raises StudyError where a tensor is not of floating-point numbers."""
    dtype = stored.dtypes[name]
    if not dtype.startswith(("F", "BF")):
        raise StudyError(
            f"{path}: {name} is of type {dtype}, not of floating-point numbers; save it as bfloat16 or float32"
        )


def check_map(path: Path, name: str, shape: tuple[int, ...], width: int) -> None:
    """Raises StudyError where a shape is not (2 + k * width, width) with k of at least 1."""
    if len(shape) != 2 or shape[1] != width or shape[0] < 2 + width or (shape[0] - 2) % width:
        raise StudyError(
            f"{path}: {name} is of shape {shape}; a map of k tokens has (2 + k * {width}, {width}): a constant, a mark "
            "of the first token, the states of k tokens"
        )


def replica(handed: HandedIn, victim: PreTrainedModel, secured: SecuredSet) -> PreTrainedModel:
    """The open part of the victim with what was handed in in place of layer 0."""
    made = models.open_part(victim, secured.names)
    seen = view(victim, secured)
    with torch.no_grad():
        for name, tensor in handed.layer.items():
            made.get_parameter(name).copy_(tensor)
    if handed.map is not None and handed.layer:
        Branch(made, seen, handed.map)
    elif handed.map is not None:
        linear_map.install(made, seen, handed.map)
    return made


def likeness(handed: HandedIn, victim: PreTrainedModel) -> float | None:
    """The largest |cosine| between a matrix that was handed in and the victim's own; None without a matrix."""
    pairs = [(one, victim.get_parameter(name)) for name, one in handed.layer.items() if one.ndim > 1]
    cosines = [
        torch.nn.functional.cosine_similarity(own.double().flatten(), theirs.detach().cpu().double().flatten(), dim=0)
        for own, theirs in pairs
    ]
    return max((abs(float(one)) for one in cosines), default=None)
