"""Forward passes of any decoder with logits only where they are wanted, in batches without padding waste."""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from solid_utils.core.errors import StudyError
from solid_utils.model.habits import agrees

TOKEN_BUDGET = 2048  # tokens of a batch, padding and shared prefixes included
BATCH_COST = 64  # tokens: what a forward costs besides its tokens (a 135M model on 2 CPU cores)
KEYS_AND_VALUES = (DynamicLayer, DynamicSlidingWindowLayer)  # cache layers without a recurrent state


def answer_logits(model, input_ids: Tensor, attention_mask: Tensor, keep: Tensor, **inputs) -> Tensor:
    """Logits (keep.sum(), vocab) of the kept positions, in row-major order and in the dtype that the model computes.

    `input_ids`, `attention_mask` and the bool mask `keep` are (batch, tokens). The model's own forward runs unchanged;
    a hook hands its output head only the kept hidden states, because at all positions the head costs a fifth of the
    work of a small model and most of the memory (vocabulary >> width). Callers turn to float32 what they sum over, in
    pieces: a copy of all at once took an eighth of HellaSwag's time. Gradients flow. `inputs` go to the model as they
    are, such as `past_key_values`. Rows are padded on the right: no token of a causal model looks there, so without a
    cache the mask is all ones, which lets attention use its faster causal kernel; states of padding mean nothing.
    Raises StudyError when the model has no output head.
    """
    if "past_key_values" not in inputs:
        attention_mask = torch.ones_like(attention_mask)
    head = model.get_output_embeddings()
    if head is None:
        raise StudyError(f"model: {type(model).__name__} has no output head; use a causal language model")

    def only_kept(_, arguments: tuple) -> tuple:
        hidden = arguments[0]  # (batch, tokens, width)
        return hidden[keep.to(hidden.device)], *arguments[1:]

    hook = head.register_forward_pre_hook(only_kept)
    try:
        inputs = {"use_cache": False} | inputs
        return model(input_ids=input_ids, attention_mask=attention_mask, **inputs).logits
    finally:
        hook.remove()


def length_batches(lengths: list[int], token_budget: int, fixed: int = BATCH_COST, held: int = 0) -> list[list[int]]:
    """Indices in batches with the least work in all, longest first, equal lengths in their given order.

    Work is padded tokens, plus `fixed` a batch. A batch's padded size, its count times its longest length and the
    `held` tokens that lie in memory besides, is at most `token_budget`; a longer sequence runs alone.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    sizes = np.array([lengths[index] for index in order])
    work = np.zeros(len(order) + 1)
    begins = np.zeros(len(order) + 1, dtype=int)
    for end in range(1, len(order) + 1):  # the cheapest batches of the `end` longest; the last one begins at `begin`
        counts = np.arange(end, 0, -1)
        fits = (counts * (sizes[:end] + held) <= token_budget) | (counts == 1)
        costs = np.where(fits, work[:end] + counts * sizes[:end] + fixed, np.inf)
        begins[end] = begin = int(costs.argmin())
        work[end] = costs[begin]
    # Back from the end: each best last batch says where the one before it ends.
    batches = []
    end = len(order)
    while end:
        batches.append(order[begins[end] : end])
        end = begins[end]
    return batches[::-1]


def pad(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Right-padded (input_ids, attention_mask), both (batch, longest) int64."""
    longest = max(map(len, sequences))
    input_ids = torch.tensor([[*tokens, *[pad_id] * (longest - len(tokens))] for tokens in sequences])
    attention_mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in sequences])
    return input_ids, attention_mask


def answer_positions(samples: Sequence[dict], attention_mask: Tensor) -> Tensor:
    """Bool (samples, tokens): where right-padded {"input_ids", "answer_start"} samples predict their answer tokens.

    These are the positions one before each answer token; none in a text without an answer.
    """
    starts = torch.tensor([sample["answer_start"] for sample in samples])[:, None]
    positions = torch.arange(attention_mask.shape[1])
    ends = attention_mask.sum(1, keepdim=True)
    return (positions >= starts - 1) & (positions < ends - 1)


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


class LastLogits:
    """Iterate over (index, logits (kept[index], vocab)) of many token rows: logits at a row's last `kept` positions.

    Rows are sorted token tuples. Rows that share a long prefix share its keys and values, where the model allows it:
    the endings of one HellaSwag context, or all questions after the same worked examples. Everything else is the
    model's own forward. A batch holds at most `token_budget` tokens, padding and prefixes included.
    """

    def __init__(self, model, rows: list[tuple[int, ...]], kept: list[int], pad_id: int, token_budget: int) -> None:
        self.model = model
        self.rows = rows
        self.kept = kept
        self.pad_id = pad_id
        self.token_budget = token_budget

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        families = [(0, list(range(len(self.rows))))]
        if shares_prefixes(self.model, max(map(len, self.rows))):
            families = shared_prefixes(self.rows, self.kept)
        alone = [family for family in families if not family[0]]
        kin = [family for family in families if family[0]]
        yield from self._families(alone, None, torch.ones(len(alone), 0, dtype=torch.int64))
        for group in length_batches([prefix for prefix, _ in kin], self.token_budget):
            together = [kin[number] for number in group]
            yield from self._families(together, *self._prefix_cache(together))

    def _prefix_cache(self, families: list[tuple[int, list[int]]]) -> tuple[DynamicCache, Tensor]:
        """Keys and values of the families' right-padded prefixes, and their mask (families, longest prefix)."""
        input_ids, mask = pad([self.rows[members[0]][:prefix] for prefix, members in families], self.pad_id)
        cache = DynamicCache(config=self.model.config)
        nothing = torch.zeros_like(mask, dtype=torch.bool)
        self._logits(input_ids, mask, nothing, past_key_values=cache, use_cache=True)
        return cache, mask

    def _families(
        self, families: list[tuple[int, list[int]]], cache: DynamicCache | None, prefix_mask: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """The rows of families whose prefixes are in the cache."""
        places = [(index, prefix, family) for family, (prefix, members) in enumerate(families) for index in members]
        lengths = [len(self.rows[index]) - prefix for index, prefix, _ in places]
        for batch in length_batches(lengths, self.token_budget, held=prefix_mask.shape[1]):
            indices, starts, family = zip(*(places[place] for place in batch), strict=True)
            rest = [self.rows[index][start:] for index, start in zip(indices, starts, strict=True)]
            input_ids, mask = pad(rest, self.pad_id)  # (batch, longest rest)
            counts = [self.kept[index] for index in indices]
            positions = torch.arange(input_ids.shape[1])
            ends = mask.sum(1, keepdim=True)
            keep = (positions < ends) & (positions >= ends - torch.tensor(counts)[:, None])
            inputs = {}
            if cache:
                # Shorter prefixes leave a masked gap before the rest; positions go on as if it were not there.
                position_ids = (torch.tensor(starts)[:, None] + positions).to(self.model.device)
                inputs = {"past_key_values": selected(cache, family), "use_cache": True, "position_ids": position_ids}
            logits = self._logits(input_ids, torch.cat([prefix_mask[list(family)], mask], dim=1), keep, **inputs)
            yield from zip(indices, logits.split(counts), strict=True)

    def _logits(self, *tensors: Tensor, **inputs) -> Tensor:
        return answer_logits(self.model, *(tensor.to(self.model.device) for tensor in tensors), **inputs)


def shares_prefixes(model, longest: int) -> bool:
    """Can keys and values of a padded prefix be reused? Not with recurrent layers, nor beyond a sliding window.

    Nor where the configuration says `use_cache: false`, as that of a model with a linear stitch does. What is left is
    tried out, once for each architecture.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model  # under peft's wrapper
    takes_positions = "position_ids" in inspect.signature(plain.forward).parameters
    layers = DynamicCache(config=plain.config).layers
    window = getattr(plain.config.get_text_config(), "sliding_window", None) or longest
    wanted = getattr(plain.config.get_text_config(), "use_cache", True)
    if not wanted or not takes_positions or longest > window:
        return False
    if any(type(layer) not in KEYS_AND_VALUES for layer in layers):
        return False
    return agrees(plain, "shared prefixes", "nothing is shared", lambda: _shared_and_alone(plain))


def _shared_and_alone(model) -> tuple[Tensor, Tensor]:
    """Last logits (rows, vocab) of four short texts, from two shared prefixes of different length, and alone."""
    begins = ([1, 2, 3, 4], [4, 3])
    ends = ([1], [3, 2])
    rows = sorted(tuple(begin + end) for begin in begins for end in ends)
    asked = LastLogits(model, rows, [1] * len(rows), 0, TOKEN_BUDGET)
    families = [(len(begin), [n for n, row in enumerate(rows) if row[0] == begin[0]]) for begin in begins]
    ours = dict(asked._families(families, *asked._prefix_cache(families)))
    alone = [dict(asked._families([(0, [number])], None, torch.ones(1, 0, dtype=torch.int64))) for number in ours]
    return torch.cat([ours[n] for n in ours]).float(), torch.cat([one[n] for one in alone for n in one]).float()


def selected(cache: DynamicCache, families: Sequence[int]) -> DynamicCache:
    """A cache with one row for each entry of `families`; the given one stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]  # selecting and appending make new tensors
    chosen.batch_select_indices(torch.tensor(families))
    return chosen


def shared_prefixes(rows: list[tuple[int, ...]], kept: list[int]) -> list[tuple[int, list[int]]]:
    """Families (prefix length, indices) of sorted token rows that share at least half of their longest member.

    A row's last `kept` positions must be computed anew, so they are never part of a prefix. Rows without kin come
    last, together, as one family with prefix length 0.
    """
    families = []
    members = []
    prefix = longest = 0
    for index, row in enumerate(rows):
        free = len(row) - kept[index]
        shared = min(prefix, free, _common(rows[index - 1], row)) if members else free
        if members and 2 * shared < max(longest, len(row)):
            families.append((prefix, members))
            members = []
            shared = free
            longest = 0
        members = [*members, index]
        prefix = shared
        longest = max(longest, len(row))
    families.append((prefix, members))
    kin = [family for family in families if len(family[1]) > 1 and family[0] > 0]
    alone = sorted({*range(len(rows))} - {index for _, members in kin for index in members})
    return kin + ([(0, alone)] if alone else [])


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(first), len(second)))
