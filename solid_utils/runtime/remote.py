"""Modules that stand in a client's model where something is secured, and ask the secure world instead."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import Cache

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import KEYS_AND_VALUES
from solid_utils.model.layers import Form
from solid_utils.runtime.doors import Segment
from solid_utils.runtime.frames import Kind
from solid_utils.runtime.inside import cache_of
from solid_utils.runtime.link import Link, digest

DIGITS, BASE = 4, 128  # of a number written into a state: each digit is exact in bfloat16


class _Pulled(torch.autograd.Function):
    """An answer whose gradient, where there is one, is asked of the secure world too."""

    @staticmethod
    def forward(ctx, state: Tensor, output: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pull = pull
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.pull(gradient), None, None


def tracked(link: Link, state: Tensor, output: Tensor, request: dict[str, Tensor], shaped: Callable) -> Tensor:
    """The output, with a gradient towards the state if one is wanted; `shaped` makes of it what the frame holds.

    Where the vendor allows none, this shows at the backward pass: a forward alone asks for none.
    """
    if not (torch.is_grad_enabled() and state.requires_grad):
        return output

    def pull(gradient: Tensor) -> Tensor:
        answer = link.ask(Kind.PULL, request | {"gradient": shaped(gradient).cpu()})
        return answer["gradient"].to(state.device)

    return _Pulled.apply(state, output, pull)


def without_gradient(state: Tensor, output: Tensor) -> Tensor:
    """The output of what gives no gradient, whatever the policy: one line at the backward pass, not torch's own."""

    def refuse(_: Tensor) -> Tensor:
        raise StudyError("gradients: none go through a head that is secured with the layers below; train nothing below")

    return _Pulled.apply(state, output, refuse) if torch.is_grad_enabled() and state.requires_grad else output


class SegmentCall:
    """The forward of a segment's first layer: one call for all its layers."""

    def __init__(self, link: Link, door: int, segment: Segment, form: Form):
        self.link, self.door, self.segment, self.form = link, door, segment, form

    def __call__(self, state: Tensor, *args, **kwargs) -> Tensor | tuple | list:
        if self.link.silent:
            return self.form(state)
        cache = cache_of(args, kwargs)
        if cache is None and self.link.room and self.reusable():
            return self.form(self.recalled(state))
        return self.form(self.asked(state, cache))

    def asked(self, state: Tensor, cache: Cache | None) -> Tensor:
        """What leaves the segment, (batch, tokens, width); zeros at positions that were not asked."""
        request, wanted = self.request(state, cache)
        answer = self.link.ask(Kind.RUN, request)
        if cache is not None:
            mark(cache, self.segment.first, answer["rows"], state.shape[1])
        if self.segment.to_logits:
            return without_gradient(state, written(answer["call"].item(), state))
        found = answer["state"].to(state.device)
        if wanted is None:
            return tracked(self.link, state, found, request, lambda gradient: gradient)
        output = state.new_zeros(state.shape)
        output[wanted] = found
        return tracked(self.link, state, output, request, lambda gradient: gradient[wanted])

    def request(self, state: Tensor, cache: Cache | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """A frame's tensors, and the positions that are asked, (batch, tokens); None: all."""
        context, request = self.link.context, {}
        past = cache.get_seq_length(self.segment.first) if cache is not None else 0
        request["numbers"] = torch.tensor([self.door, past, int(cache is not None)])
        if self.segment.from_ids:
            if context.ids is None:
                raise StudyError("inputs_embeds: the embeddings are secured too; give input_ids")
            request["ids"] = context.ids.cpu()
        else:
            request["state"] = state.detach().cpu()
        if past:
            request["rows"] = last_marks(cache, self.segment.first)
        wanted = self.link.wanted
        if context.mask is not None:
            request["mask"] = context.mask.bool().cpu()
            wanted = request["mask"][:, past:] if wanted is None else wanted
        if context.positions is not None:
            request["positions"] = context.positions.cpu()
        if wanted is not None and not wanted.all():
            request["asked"] = wanted.cpu().clone()  # a frame holds no tensor twice
            return request, wanted.to(state.device)
        return request, None

    # Fine-tuning: the states that leave a bottom set never change -----------------------------------------------------

    def reusable(self) -> bool:
        """Are the rows of this batch texts of their own, padded on the right and not at all before?"""
        context, first = self.link.context, self.segment.first == 0 and not self.segment.to_logits
        plain = context.positions is None and self.link.wanted is None
        return first and plain and right_padded(context.mask)

    def recalled(self, state: Tensor) -> Tensor:
        """As `asked`; rows that were asked before are taken from memory, the others are asked together."""
        context, detached = self.link.context, state.detach().cpu()
        lengths = [state.shape[1]] * len(state) if context.mask is None else context.mask.sum(1).tolist()
        texts = context.ids.cpu() if self.segment.from_ids else detached
        keys = [digest(texts[row, :length].contiguous()) for row, length in enumerate(lengths)]
        new = [row for row, key in enumerate(keys) if self.link.remembered(key) is None]
        output = state.new_zeros(state.shape)
        if new:
            answers = self.rows_asked(state, new)
            for place, row in enumerate(new):
                output[row] = answers[place]
                self.link.remember(keys[row], answers[place, : lengths[row]].detach().cpu())
        for row, key in enumerate(keys):
            if row not in new:
                output[row, : lengths[row]] = self.link.remembered(key).to(state.device)
        if torch.is_grad_enabled() and state.requires_grad:
            request, wanted = self.request(state, None)
            shaped = (lambda gradient: gradient) if wanted is None else (lambda gradient: gradient[wanted])
            return tracked(self.link, state, output, request, shaped)
        return output

    def rows_asked(self, state: Tensor, rows: list[int]) -> Tensor:
        """What leaves the segment for some rows of the batch."""
        whole = self.link.context
        part = {name: None if value is None else value[rows] for name, value in vars(whole).items()}
        self.link.context = type(whole)(**part)
        try:
            with torch.no_grad():
                return self.asked(state[rows], None)
        finally:
            self.link.context = whole


def right_padded(mask: Tensor | None) -> bool:
    """Does every row begin with a token and never begin again?"""
    return mask is None or bool(mask[:, 0].all() and (mask.long().diff(dim=1) <= 0).all())


def mark(cache: Cache, index: int, rows: Tensor, tokens: int) -> None:
    """Put the secure world's marks in place of a layer's keys: one number a row and position."""
    layer = cache.layers[index] if index < len(cache.layers) else None
    if layer is not None and not isinstance(layer, KEYS_AND_VALUES):
        raise StudyError(f"cache: {type(layer).__name__} cannot stand for a secured layer; use the dynamic cache")
    marks = rows[:, None, None, None].expand(-1, 1, tokens, 1)
    cache.update(marks, marks, index)


def last_marks(cache: Cache, index: int) -> Tensor:
    """The mark of each row's last position, (batch,)."""
    return cache.layers[index].keys[:, 0, -1, 0].cpu()


# States that stay inside: what leaves a segment says only which ones they are -----------------------------------------


def written(call: int, state: Tensor) -> Tensor:
    """States (batch, tokens, width) that hold nothing but their call and place, digit by digit."""
    batch, tokens, _ = state.shape
    made = state.new_zeros(state.shape)
    places = torch.arange(batch * tokens, device=state.device).reshape(batch, tokens)
    for digit in range(DIGITS):
        made[..., digit] = places.div(BASE**digit, rounding_mode="floor") % BASE
        made[..., DIGITS + digit] = call // BASE**digit % BASE
    return made


def read_back(state: Tensor) -> tuple[int, Tensor]:
    """Call and places (n,) of states that `written` made. Raises StudyError where something has changed them."""
    rows = state.detach().reshape(-1, state.shape[-1]).float()
    digits = rows[:, : 2 * DIGITS].long()
    powers = BASE ** torch.arange(DIGITS, device=rows.device)
    places, calls = (digits[:, :DIGITS] * powers).sum(1), (digits[:, DIGITS:] * powers).sum(1)
    whole = bool((digits == rows[:, : 2 * DIGITS]).all()) and not rows[:, 2 * DIGITS :].any()
    if not whole or len(calls.unique()) != 1:
        raise StudyError(
            "head: it is secured together with the layers below, and what lies between them is changed in this "
            "architecture; secure the layers without the head"
        )
    return int(calls[0]), places


class Stand(nn.Module):
    """A module in place of a secured one. Not of its class, so that nobody takes it for a matrix to adapt.

    `weight` is of the secured one's shape and type, takes no memory, and holds no numbers, so that whatever reads it by
    mistake ends as nan.
    """

    def __init__(self, link: Link, secured: nn.Module):
        super().__init__()
        self.link = link
        for name in ("in_features", "out_features", "num_embeddings", "embedding_dim"):
            if hasattr(secured, name):
                setattr(self, name, getattr(secured, name))
        own = getattr(secured, "weight", None)
        if isinstance(own, Tensor):
            self.weight = torch.full((), torch.nan, dtype=own.dtype).expand(own.shape)


class Lone(Stand):
    """A secured module that is a door of its own: its inputs go in, its outputs come out."""

    def __init__(self, link: Link, secured: nn.Module, number: int):
        super().__init__(link, secured)
        self.number = number

    def forward(self, *args, **kwargs) -> Tensor | tuple:
        inputs = [*args, *kwargs.values()]
        if not all(isinstance(one, Tensor) for one in inputs):
            raise StudyError("secured module: it is called with more than tensors; secure whole layers")
        request = {f"in{place}": one.detach().cpu() for place, one in enumerate(inputs)}
        request["numbers"] = torch.tensor([self.number])
        answer = self.link.ask(Kind.MODULE, request)
        outputs = [answer[f"out{place}"].to(inputs[0].device) for place in range(len(answer))]
        first = tracked(self.link, inputs[0], outputs[0], request, lambda gradient: gradient)
        return first if len(outputs) == 1 else (first, *outputs[1:])


class Blank(Stand):
    """A secured module before the layers, whose work a segment does: what leaves it only has the right shape."""

    def forward(self, first: Tensor, *_, **__) -> Tensor:
        if hasattr(self, "embedding_dim"):
            # Of tokens the shape counts; positions are added to them, whatever theirs was.
            shape = first.shape if self.tokens else (1, 1)
            return torch.zeros(*shape, self.embedding_dim, dtype=self.weight.dtype, device=first.device)
        if hasattr(self, "out_features"):
            return first.new_zeros(*first.shape[:-1], self.out_features)
        return first

    tokens = False


class Through(Stand):
    """A secured module after the layers, whose work the secure world does before the head."""

    def forward(self, first: Tensor, *_, **__) -> Tensor:
        return first


class Head(Stand):
    """The head of states that stay inside: only their logits come out."""

    def forward(self, state: Tensor) -> Tensor:
        if self.link.silent:
            return state.new_zeros(*state.shape[:-1], len(self.weight))
        if not state.numel():
            return state.new_zeros(*state.shape[:-1], len(self.weight))
        call, places = read_back(state)
        answer = self.link.ask(Kind.HEAD, {"numbers": torch.tensor([call]), "places": places.cpu()})
        return without_gradient(state, answer["logits"].to(state.device).reshape(*state.shape[:-1], -1))
