"""A model in float32, a layer at a time, whatever dtype it has: for comparisons that rounding must not blur."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn

from solid_utils.difficulty.weights import InMemory, with_tensors


def lifted(module: nn.Module, device: torch.device, keep: Iterable[nn.Module] = ()) -> nn.Module:
    """A copy of `module` with parameters and buffers in float32; modules in `keep` are shared as they are.

    What is float32 already is shared with the original. Tied parameters stay tied.
    """
    twin, apart = with_tensors(module, {}, device, keep), {id(part) for one in keep for part in one.modules()}
    lift([part for part in twin.modules() if id(part) not in apart])
    return twin


def lift(parts: Iterable[nn.Module]) -> None:
    """The modules' own tensors (not their children's) in float32, in place. Tied parameters stay tied."""
    known: dict[int, nn.Parameter] = {}
    for part in parts:
        for leaf, own in part._parameters.items():
            if own is not None and own.is_floating_point() and own.dtype != torch.float32:
                part._parameters[leaf] = known.setdefault(id(own), nn.Parameter(own.detach().float(), False))
        for leaf, own in part._buffers.items():
            if own is not None and own.is_floating_point():
                part._buffers[leaf] = own.float()


def lift_while_running(layer: nn.Module) -> None:
    """From now on the layer's tensors are in float32 during each of its forwards, and only then."""
    before: list[tuple[nn.Module, dict, dict]] = []

    def up(*_) -> None:
        before.extend((part, dict(part._parameters), dict(part._buffers)) for part in layer.modules())
        lift(layer.modules())

    def down(*_) -> None:
        for part, parameters, buffers in before:
            part._parameters.update(parameters)
            part._buffers.update(buffers)
        before.clear()

    layer.register_forward_pre_hook(up)
    layer.register_forward_hook(down)


class Exact(InMemory):
    """A source in float32. All layers but those in `kept` hand their input on, so they are never read."""

    def __init__(self, source: InMemory, kept: Iterable[int]):
        self.source, self.kept, self.device = source, set(kept), source.device
        # As the source has them: fresh tensors are rounded to its dtype on both sides of a comparison.
        self.parameters = source.parameters
        self.model = lifted(source.model, source.device, keep=[source.layers.layers])
        self.layers = copy.copy(source.layers)  # a new one would read the first layer once more
        self.layers.model, self.path = self.model, source.path

    def layer(self, index: int) -> Callable:
        return lifted(self.source.layer(index), self.device) if index in self.kept else self.layers.skip

    def variant(self, index: int, tensors: dict[str, torch.Tensor]) -> nn.Module:
        return lifted(self.source.variant(index, tensors), self.device)

    def read(self, name: str) -> torch.Tensor:
        return self.source.read(name)
