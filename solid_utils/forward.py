"""Forward passes of any decoder with logits only where they are wanted, in batches without padding waste."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from solid_utils.errors import StudyError


def answer_logits(model, input_ids: Tensor, attention_mask: Tensor, keep: Tensor, **inputs) -> Tensor:
    """Float32 logits (keep.sum(), vocab) of the kept positions, in row-major order.

    `input_ids`, `attention_mask` and the bool mask `keep` are (batch, tokens). The model's own forward runs unchanged;
    a hook hands its output head only the kept hidden states, because at all positions the head costs a fifth of the
    work of a small model and most of the memory (vocabulary >> width). Gradients flow. `inputs` go to the model as
    they are, such as `past_key_values`. Raises StudyError when the model has no output head.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise StudyError(f"model: {type(model).__name__} has no output head; use a causal language model")

    def only_kept(_, arguments: tuple) -> tuple:
        hidden = arguments[0]  # (batch, tokens, width)
        return hidden[keep.to(hidden.device)], *arguments[1:]

    hook = head.register_forward_pre_hook(only_kept)
    try:
        inputs = {"use_cache": False} | inputs
        return model(input_ids=input_ids, attention_mask=attention_mask, **inputs).logits.float()
    finally:
        hook.remove()


def length_batches(lengths: list[int], token_budget: int) -> list[list[int]]:
    """Indices in batches, longest first, equal lengths in their given order.

    A batch's padded size (its longest length times its count) is at most `token_budget`; a longer sequence runs alone.
    """
    batches, longest = [], 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not batches or longest * (len(batches[-1]) + 1) > token_budget:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    return batches


def pad(sequences: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Right-padded (input_ids, attention_mask), both (batch, longest) int64."""
    longest = max(map(len, sequences))
    input_ids = torch.tensor([[*tokens, *[pad_id] * (longest - len(tokens))] for tokens in sequences])
    attention_mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in sequences])
    return input_ids, attention_mask


@contextmanager
def measuring(model) -> Iterator[None]:
    """Dropout off and no gradients inside; the model's training mode is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def shared_prefixes(rows: list[tuple[int, ...]], kept: list[int]) -> list[tuple[int, list[int]]]:
    """Families (prefix length, indices) of sorted token rows that share at least half of their longest member.

    A row's last `kept` positions must be computed anew, so they are never part of a prefix. Rows without kin come
    last, together, with prefix length 0.
    """
    families, alone = [], []
    members, prefix, longest = [], 0, 0
    for index, row in enumerate(rows):
        free = len(row) - kept[index]
        shared = min(prefix, free, _common(rows[index - 1], row)) if members else free
        if members and 2 * shared < max(longest, len(row)):
            _close(members, prefix, families, alone)
            members, shared, longest = [], free, 0
        members, prefix, longest = [*members, index], shared, max(longest, len(row))
    if members:
        _close(members, prefix, families, alone)
    return families + ([(0, alone)] if alone else [])


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(first), len(second)))


def _close(members: list[int], prefix: int, families: list, alone: list[int]) -> None:
    """File a finished family."""
    if len(members) > 1 and prefix:
        families.append((prefix, members))
    else:
        alone.extend(members)


def prefix_batches(
    families: list[tuple[int, list[int]]], lengths: list[int], token_budget: int
) -> list[list[tuple[int, list[int]]]]:
    """Batches of families with prefixes of similar length; rows times longest row is at most `token_budget`.

    A family too large for one batch is split, a row longer than the budget runs alone, and rows without a prefix
    share no batch with families.
    """
    pieces = [
        (prefix, [members[place] for place in batch])
        for prefix, members in families
        for batch in length_batches([lengths[index] for index in members], token_budget)
    ]
    batches, rows, longest = [], 0, 0
    for prefix, members in sorted(pieces, key=lambda piece: -piece[0]):
        rows, longest = rows + len(members), max(longest, *(lengths[index] for index in members))
        if not batches or prefix == 0 or rows * longest > token_budget:
            batches.append([])
            rows, longest = len(members), max(lengths[index] for index in members)
        batches[-1].append((prefix, members))
    return batches
