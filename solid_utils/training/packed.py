"""Batches without padding: the texts of a batch side by side in one row, each attending to itself alone.

Transformers does this by position ids that begin anew, but on a CPU as a mask of all tokens by all tokens, which costs
more than padding does. Here the row is cut where a text ends: each text goes through torch's causal kernel by itself.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from solid_utils.model.forward import answer_logits
from solid_utils.model.habits import agrees
from solid_utils.training.training import answer_loss, mean_loss

NAME = "side_by_side"
PLAIN = "sdpa"  # the attention that ours stands in for; another one (Gemma 2's) may do more than softmax
WINDOWS = ("sliding_window", "attention_chunk_size")  # of a configuration: a text longer than these needs a mask
_lengths: ContextVar[list[int]] = ContextVar("lengths")  # of the texts in the row that is passed forward


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: object, **options
) -> tuple[Tensor, None]:
    """Attention of a row of texts: (1, heads, tokens, width) each -> (1, tokens, heads, width)."""
    parts = zip(*(part.split(_lengths.get(), dim=2) for part in (query, key, value)), strict=True)
    outputs = [sdpa_attention_forward(module, *part, None, **options)[0] for part in parts]
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(NAME, attention)


@contextmanager
def side_by_side(model: nn.Module, lengths: list[int]) -> Iterator[None]:
    """For the duration, `model` reads a row as texts of these lengths."""
    before, token = model.config._attn_implementation, _lengths.set(lengths)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        _lengths.reset(token)


def packed_logits(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
    """Logits (keep.sum(), vocab) of the kept positions of right-padded (batch, tokens) rows, none of padding computed.

    In row-major order, as forward.answer_logits gives them. Gradients flow. `model` may have peft's adapters.
    """
    real = attention_mask.bool()
    positions = torch.arange(real.shape[1], device=real.device).expand_as(real)
    row, kept, places = input_ids[real][None], keep[real][None], positions[real][None]  # (1, real tokens)
    with side_by_side(plain(model), real.sum(1).tolist()):
        return answer_logits(model, row, torch.ones_like(row), kept, position_ids=places)


def plain(model: nn.Module) -> nn.Module:
    """The model under peft's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def packs(model: nn.Module, longest: int) -> bool:
    """Can texts of at most `longest` tokens stand side by side? Tried out once for each architecture.

    Not with another attention than torch's, beyond a window, or where layers carry a state along the row.
    """
    inner = plain(model)
    config = inner.config.get_text_config()
    windows = [size for size in (getattr(config, name, None) for name in WINDOWS) if size]
    takes_positions = "position_ids" in inspect.signature(inner.forward).parameters
    if inner.config._attn_implementation != PLAIN or not takes_positions or any(longest > size for size in windows):
        return False
    return agrees(inner, "texts side by side", "batches are padded", lambda: _together_and_alone(inner))


def _together_and_alone(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Logits (tokens, vocab) of two short texts side by side, and padded."""
    input_ids = torch.tensor([[1, 2, 3, 4], [4, 3, 0, 0]], device=model.device)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], device=model.device)
    arguments = input_ids, mask, mask.bool()
    return packed_logits(model, *arguments).float(), answer_logits(model, *arguments).float()


def packed_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """training.answer_loss of the same batch up to rounding, without work on padding; padded where `packs` says no."""
    if not packs(model, batch["input_ids"].shape[1]):
        return answer_loss(model, batch)
    targets = torch.roll(batch["input_ids"], -1, dims=1)[batch["keep"]]
    return mean_loss(packed_logits(model, batch["input_ids"], batch["attention_mask"], batch["keep"]), targets)


def chosen(packed: bool) -> Callable[[nn.Module, dict[str, Tensor]], Tensor]:
    """The loss of answers that a recipe asks for."""
    return packed_loss if packed else answer_loss
