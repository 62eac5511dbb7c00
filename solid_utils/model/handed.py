"""What layers hand on to later ones beside the hidden state: notebooks among their arguments.

Some architectures give every layer one and the same mutable object; a layer writes keys and values there, and layers
further up read them (Gemma 4). What stands in it belongs to the history of a hidden state just as the state does.
"""

import copy
from collections import Counter
from collections.abc import MutableMapping, MutableSequence
from dataclasses import dataclass

import torch

Call = tuple[tuple, dict]  # a layer's arguments beside the hidden state


@dataclass
class Passed:
    """What leaves a layer: the hidden state, (batch, tokens, width), and the notebooks as they stand there."""

    hidden: torch.Tensor
    notes: dict[int, object]  # by the identity of the object that the model's own forward hands to its layers


def notebooks(calls: list[Call]) -> dict[int, object]:
    """Mutable containers that more than one layer is given, from one forward in which no layer does any work."""
    given = [{id(value): value for value in _values(call) if _mutable(value)} for call in calls]
    counts = Counter(key for objects in given for key in objects)
    return {key: value for objects in given for key, value in objects.items() if counts[key] > 1}


def written(notes: dict[int, object], call: Call) -> tuple[dict[int, object], Call]:
    """Copies of the notebooks for one layer to write in, and its arguments with them in place of the originals."""
    if not notes:
        return notes, call
    own = {key: _copied(value) for key, value in notes.items()}
    args, kwargs = call
    placed = tuple(own.get(id(value), value) for value in args)
    return own, (placed, {name: own.get(id(value), value) for name, value in kwargs.items()})


def _values(call: Call) -> list[object]:
    return [*call[0], *call[1].values()]


def _mutable(value: object) -> bool:
    return isinstance(value, MutableMapping | MutableSequence)


def _copied(value: object) -> object:
    """The container and those inside it anew; tensors, which are written once, stay what they are."""
    twin = copy.copy(value)
    places = twin.items() if isinstance(twin, MutableMapping) else enumerate(twin)
    for place, inner in list(places):
        if _mutable(inner):
            twin[place] = _copied(inner)
    return twin
