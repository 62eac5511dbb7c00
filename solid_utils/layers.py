"""Run a part of any Hugging Face decoder without re-implementing its forward.

The model's own forward always runs; only the `forward` of chosen decoder layers is replaced for its duration: by
another layer's, by a given hidden state, or by nothing at all. Masks, positions, caches and scalings stay the model's.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from solid_utils.forward import answer_logits
from solid_utils.secured import decoder_layers


def hidden(output: torch.Tensor | tuple) -> torch.Tensor:
    """The hidden state in a decoder layer's output, which is a tensor or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output


class DecoderLayers:
    """The decoder layers of a model, and ways to replace or watch some of them."""

    def __init__(self, model: nn.Module):
        self.model = model
        _, self.layers = decoder_layers(model)
        outputs = []
        hook = self.layers[0].register_forward_hook(lambda *arguments: outputs.append(arguments[-1]))
        with torch.no_grad():
            model(input_ids=torch.tensor([[0, 1, 2]], device=next(model.parameters()).device), use_cache=False)
        hook.remove()
        self.extra = len(outputs[0]) - 1 if isinstance(outputs[0], tuple) else None

    def __len__(self) -> int:
        return len(self.layers)

    def _as_output(self, state: torch.Tensor) -> torch.Tensor | tuple:
        return state if self.extra is None else (state, *[None] * self.extra)

    def skip(self, state: torch.Tensor, *_, **__) -> torch.Tensor | tuple:
        """A layer's forward that hands its input on."""
        return self._as_output(state)

    def given(self, state: torch.Tensor) -> Callable:
        """A layer's forward that ignores its input and returns `state`, (batch, tokens, width)."""
        return lambda *_, **__: self._as_output(state)

    @contextmanager
    def replaced(self, forwards: dict[int, Callable]) -> Iterator[None]:
        """For the duration, layer i runs forwards[i] in place of its own forward."""
        for index, forward in forwards.items():
            self.layers[index].forward = forward
        try:
            yield
        finally:
            for index in forwards:
                del self.layers[index].forward

    @contextmanager
    def watched(self, indices: Iterable[int]) -> Iterator[dict[int, torch.Tensor]]:
        """For the duration, collect the hidden state, (batch, tokens, width), that leaves each of these layers."""
        states: dict[int, torch.Tensor] = {}

        def store(index: int) -> Callable:
            return lambda _module, _inputs, output: states.__setitem__(index, hidden(output))

        hooks = [self.layers[index].register_forward_hook(store(index)) for index in indices]
        try:
            yield states
        finally:
            for hook in hooks:
                hook.remove()

    def boundary(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, last: int) -> torch.Tensor:
        """The hidden state, (batch, tokens, width), that leaves layer `last`; what comes after it does no work."""
        above = {index: self.skip for index in range(last + 1, len(self.layers))}
        nothing = torch.zeros_like(attention_mask, dtype=torch.bool)
        with self.replaced(above), self.watched([last]) as states:
            answer_logits(self.model, input_ids, attention_mask, nothing)
        return states[last]
