"""Run a part of any Hugging Face decoder without re-implementing its forward.

The model's own forward always runs; only the `forward` of chosen decoder layers is replaced for its duration: by
another layer's, by a given hidden state, or by nothing at all. Masks, positions, caches and scalings stay the model's.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import answer_logits
from solid_utils.model.handed import notebooks
from solid_utils.model.structure import decoder_layers

NOT_CALLED = "a text does not go once through each of {}; this architecture is not supported"


class _Seen(Exception):
    """Carries a layer's output out of a forward that needs to go no further."""


def hidden(output: torch.Tensor | tuple | list) -> torch.Tensor:
    """The hidden state in a decoder layer's output, which is a tensor or a row that begins with it."""
    return output[0] if isinstance(output, tuple | list) else output


@dataclass(frozen=True)
class Form:
    """What the model's layers return: a state alone, or a tuple or list that begins with it."""

    row: type | None = None
    extra: int = 0  # entries after the state; nobody reads them where a layer is replaced

    def __call__(self, state: torch.Tensor) -> torch.Tensor | tuple | list:
        return self.row([state, *[None] * self.extra]) if self.row else state


class DecoderLayers:
    """The decoder layers of a model, and ways to replace or watch some of them."""

    def __init__(self, model: nn.Module, first: nn.Module | None = None):
        """`first` stands in for layer 0 where the model's own has no values yet."""
        self.model = model
        self.path, self.layers = decoder_layers(model)
        ids = torch.tensor([[0, 1, 2]], device=self.device)  # any tokens: only the form of what comes out matters
        with torch.no_grad(), self.replaced({0: first.forward} if first else {}):
            output = self._output(ids, 0)  # stopped there, the other layers need no weights yet
        row = type(output) if isinstance(output, tuple | list) else None
        self.form = Form(row, len(output) - 1 if row else 0)

    def _output(self, input_ids: torch.Tensor, last: int) -> torch.Tensor | tuple | list:
        """What layer `last` returns; the forward stops there. Rows are padded on the right, so they need no mask.

        Raises StudyError where a text forward does not come by.
        """

        def stop(_module, _inputs, output) -> None:
            raise _Seen(output)

        hook = self.layers[last].register_forward_hook(stop)
        try:
            self.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)
        except _Seen as seen:
            return seen.args[0]
        finally:
            hook.remove()
        raise StudyError(f"{type(self.model).__name__}: {NOT_CALLED.format(self.path)}")

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return self.model.get_input_embeddings().weight.device

    def __len__(self) -> int:
        return len(self.layers)

    def skip(self, state: torch.Tensor, *_, **__) -> torch.Tensor | tuple | list:
        """A layer's forward that hands its input on."""
        return self.form(state)

    def given(self, state: torch.Tensor) -> Callable:
        """A layer's forward that ignores its input and returns `state`, (batch, tokens, width)."""
        return lambda *_, **__: self.form(state)

    @torch.no_grad()
    def calls(
        self, frame: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, list]:
        """What enters layer 0, (batch, tokens, width), and every layer's other arguments, from one real forward.

        `frame` is the model, or a copy that shares its decoder layers; none of them does any work here.
        """
        entered, arguments = [], []

        def note(state: torch.Tensor, *args, **kwargs) -> torch.Tensor | tuple | list:
            entered.append(state)
            arguments.append((args, kwargs))
            return self.form(state)

        with self.replaced(dict.fromkeys(range(len(self.layers)), note)):
            answer_logits(frame, input_ids, attention_mask, torch.zeros_like(attention_mask, dtype=torch.bool))
        if len(entered) != len(self.layers):
            raise StudyError(f"{type(self.model).__name__}: {NOT_CALLED.format(self.path)}")
        return entered[0], arguments

    def hands_on(self) -> bool:
        """Do layers write down more than their state for others to read (handed.py)?"""
        ids = torch.tensor([[0, 1, 2]], device=self.device)
        return any(not len(notes) for notes in notebooks(self.calls(self.model, ids, torch.ones_like(ids))[1]).values())

    @contextmanager
    def leaving(self, state: torch.Tensor, last: int = -1) -> Iterator[None]:
        """For the duration, `state` is what leaves layer `last` (-1: the last one); no layer up to it does any work."""
        last %= len(self.layers)
        with self.replaced(dict.fromkeys(range(last), self.skip) | {last: self.given(state)}):
            yield

    def idle(self) -> AbstractContextManager:
        """For the duration, every layer hands its input on."""
        return self.replaced(dict.fromkeys(range(len(self.layers)), self.skip))

    @contextmanager
    def replaced(self, forwards: dict[int, Callable]) -> Iterator[None]:
        """For the duration, layer i runs forwards[i] in place of its own forward."""
        for index, forward in forwards.items():
            self.layers[index].forward = forward
        try:
            yield
        finally:
            for index in forwards:
                del self.layers[index].forward  # the class's own shows again

    def boundary(self, input_ids: torch.Tensor, last: int) -> torch.Tensor:
        """The hidden state, (batch, tokens, width), that leaves layer `last`; the forward stops there.

        Rows are padded on the right, as for `answer_logits`, so only real positions mean anything.
        """
        return hidden(self._output(input_ids, last))
