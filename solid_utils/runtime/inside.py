"""The secured part of a model, run by the model's own forward: masks, positions and rotary angles are made in here.

A client chooses states, token ids, which positions are padding, and position numbers; not the attention's mask itself
and no rotary angle, with which attention could be switched off and matrices read one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from solid_utils.model.layers import DecoderLayers, Form, hidden
from solid_utils.runtime.doors import Segment, doors
from solid_utils.runtime.hollow import fill, hollow
from solid_utils.runtime.manifest import Manifest


class _Left(Exception):
    """Carries a state out of a forward that needs to go no further."""


@dataclass
class Asked:
    """What one call through a segment is given; (batch, tokens) unless said otherwise."""

    segment: Segment
    state: Tensor | None  # (batch, tokens, width); None where token ids enter
    ids: Tensor  # token ids, zeros where a state enters
    mask: Tensor | None  # (batch, past + tokens)
    positions: Tensor | None
    cache: DynamicCache | None
    past: int = 0  # tokens that the cache holds


def pass_on(form: Form, index: int) -> Callable:
    """A layer's forward that hands its input on; its place in a cache grows as the others' do, one byte a token.

    Masks and positions are read off the length of a cache's first layers, whichever these are.
    """

    def forward(state: Tensor, *args, **kwargs) -> Tensor | tuple | list:
        if (cache := cache_of(args, kwargs)) is not None:
            mark = torch.zeros(*state.shape[:1], 1, state.shape[1], 1, dtype=torch.uint8)
            cache.update(mark, mark, index)
        return form(state)

    return forward


def cache_of(args: tuple, kwargs: dict) -> Cache | None:
    """The cache among a layer's arguments, whatever it is called there."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, Cache)), None)


class Inside:
    """The secured parameters in the shape of their model, and every door to them."""

    def __init__(self, folder: Path, manifest: Manifest, secret: dict[str, Tensor]):
        """`folder`: the open half, of which only the configuration is read."""
        self.model = hollow(folder, manifest)
        self.doors = doors(self.model, manifest.names)
        self.form = DecoderLayers(self.model).form
        fill(self.model, secret)
        self.layers = DecoderLayers(self.model).layers
        self.decoder = self.model.get_decoder()
        self.head = self.model.get_submodule(self.doors.head)
        self.config = self.model.config.get_text_config()
        self.dtype = self.model.dtype
        self.asked: Asked | None = None
        for index, layer in enumerate(self.layers):
            layer.forward = self.layer_forward(layer, index)

    def layer_forward(self, layer: nn.Module, index: int) -> Callable:
        """The forward of a layer as the call at hand wants it: handed on, begun at the state that enters, or left."""
        plain, skip = layer.forward, pass_on(self.form, index)

        def forward(state: Tensor, *args, **kwargs) -> Tensor | tuple | list:
            asked = self.asked
            if index < asked.segment.first:
                return skip(state, *args, **kwargs)
            if index == asked.segment.first and asked.state is not None:
                state = asked.state
            output = plain(state, *args, **kwargs)
            if index == asked.segment.last and not asked.segment.to_logits:
                raise _Left(hidden(output))
            return output

        return forward

    def run(self, asked: Asked) -> Tensor:
        """What leaves the segment, (batch, tokens, width); what the head is given where only logits leave."""
        self.asked = asked
        try:
            output = self.decoder(
                input_ids=asked.ids,
                attention_mask=asked.mask,
                position_ids=asked.positions,
                past_key_values=asked.cache,
                use_cache=asked.cache is not None,
            )
        except _Left as left:
            return left.args[0]
        finally:
            self.asked = None
        return output.last_hidden_state

    def pull(self, asked: Asked, gradient: Tensor) -> Tensor:
        """The vector-Jacobian product: from the gradient of what leaves to that of the state that entered."""
        with torch.enable_grad():
            asked.state.requires_grad_(True)
            return torch.autograd.grad(self.run(asked), asked.state, gradient)[0]

    def new_cache(self) -> DynamicCache:
        """Keys and values of a text that begins."""
        return DynamicCache(config=self.model.config)

    def module(self, number: int) -> nn.Module:
        """A lone module, by its place among them."""
        return self.model.get_submodule(self.doors.modules[number])

    def pull_module(self, number: int, inputs: list[Tensor], gradient: Tensor) -> Tensor:
        """The vector-Jacobian product of a lone module, to its first input."""
        with torch.enable_grad():
            first = inputs[0].requires_grad_(True)
            output = self.module(number)(first, *inputs[1:])
            return torch.autograd.grad(hidden(output), first, gradient)[0]
