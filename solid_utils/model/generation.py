"""Greedy generation of a batch of prompts, each row stopped on its own."""

import math
from collections.abc import Collection

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import answer_logits, selected, shares_prefixes
from solid_utils.model.habits import agrees
from solid_utils.model.structure import positions

LEAVE = 0.75  # rows go on by themselves once so few are unfinished: at every end a GPU would wait for the restarts
LOOK_BACK = 2  # tokens more than a stop string's own: the model may spell it otherwise, as in lm-eval


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: list[list[int]],
    new_tokens: int,
    pad_id: int,
    processors: LogitsProcessorList | None = None,
    prefix: DynamicCache | None = None,
) -> list[list[int]]:
    """Greedy continuations of a batch of prompts, each cut after its end-of-sequence token.

    Prompts are padded on the left, after `prefix`, the keys and values of what they begin with, where they share that.
    Raises StudyError where an answer would need more tokens than the model has positions for.
    """
    input_ids, mask = _padded(model, prompts, pad_id, prefix)
    if input_ids.shape[1] + new_tokens > (most := positions(model) or math.inf):
        raise StudyError(
            f"model: answers of {new_tokens} tokens to prompts of {input_ids.shape[1]}, it has positions for {most}; "
            "lower length or new_tokens in configs/tiers.yaml"
        )
    known = {"past_key_values": selected(prefix, [0] * len(prompts))} if prefix else {}
    output = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=pad_id,
        logits_processor=processors,
        **known,
    )
    ends = end_tokens(model)
    return [until_end(row, ends) for row in output[:, input_ids.shape[1] :].tolist()]


@torch.inference_mode()
def generate_rows(
    model: PreTrainedModel,
    tokenizer,
    prompts: list[list[int]],
    stops: list[list[str]],
    limits: list[int],
    pad_id: int,
    prefix: DynamicCache | None = None,
) -> list[list[int]]:
    """`generate` where each row has stop strings and a number of new tokens of its own, and leaves when it is done.

    One answer that never ends so costs what it costs alone: in a batch that stayed whole, 15 TriviaQA items took 61 s,
    one by one 33.
    """
    input_ids, mask = _padded(model, prompts, pad_id, prefix)
    width = input_ids.shape[1]
    ends = end_tokens(model)
    # Without keys and values that can be selected by row (recurrent layers), the rest is read again.
    cache = DynamicCache(config=model.config) if shares_prefixes(model, width + max(limits)) else None
    cache = selected(prefix, [0] * len(prompts)) if prefix else cache
    answers: list[list[int]] = [[]] * len(prompts)
    left = list(range(len(prompts)))
    while left:
        rows = RowStops(tokenizer, [stops[row] for row in left], [limits[row] for row in left], width, ends)
        input_ids = model.generate(
            input_ids,
            attention_mask=mask,
            max_new_tokens=max(limits[row] for row in left) - (input_ids.shape[1] - width),
            do_sample=False,
            pad_token_id=pad_id,
            stopping_criteria=StoppingCriteriaList([rows]),
            **({"past_key_values": cache} if cache else {}),
        )
        for row, tokens in zip(left, input_ids[:, width:].tolist(), strict=True):
            answers[row] = until_end(tokens, ends)
        places = [place for place, done in enumerate(rows.done) if not done]
        left = [left[place] for place in places]
        new = torch.ones_like(input_ids[:, mask.shape[1] :])
        mask = torch.cat([mask, new], dim=1)[places]
        input_ids = input_ids[places]
        if cache and places:
            cache.batch_select_indices(torch.tensor(places, device=input_ids.device))
    return answers


def pads_left(model: PreTrainedModel) -> bool:
    """Does a batch of left-padded prompts answer as each prompt alone? Tried out, once for each architecture."""

    def ask() -> tuple[Tensor, Tensor]:
        prompts = [[1, 2, 3, 4, 3, 2], [4, 3, 2]]
        alone = [_first_logits(model, [prompt]) for prompt in prompts]
        return _first_logits(model, prompts), torch.cat(alone)

    return agrees(model, "prompts padded on the left", "only prompts of equal length share a batch", ask)


def _first_logits(model: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """Float32 logits (prompts, vocab) of the first new token, as Transformers' own generation has them."""
    input_ids, mask = _padded(model, prompts, 0, None)
    output = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=1,
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return output.logits[0].float()


def alike(model: PreTrainedModel, prompts: list[list[int]], batches: list[list[int]]) -> list[list[int]]:
    """Batches of prompts (their numbers), split into such of equal length where the model reads padding on the left."""
    if all(len({len(prompts[number]) for number in batch}) == 1 for batch in batches) or pads_left(model):
        return batches
    lengths = [sorted({len(prompts[number]) for number in batch}, reverse=True) for batch in batches]
    pairs = [(batch, length) for batch, own in zip(batches, lengths, strict=True) for length in own]
    return [[number for number in batch if len(prompts[number]) == length] for batch, length in pairs]


def end_tokens(model: PreTrainedModel) -> set[int]:
    """The ids that end an answer."""
    ends = model.generation_config.eos_token_id  # one id or several
    return set(ends if isinstance(ends, list) else [ends])


def _padded(
    model: PreTrainedModel, prompts: list[list[int]], pad_id: int, prefix: DynamicCache | None
) -> tuple[Tensor, Tensor]:
    """Token ids and mask (batch, tokens): padded on the left, but after the tokens of `prefix`."""
    shared = prefix.get_seq_length() if prefix else 0
    longest = max(map(len, prompts))
    gaps = [longest - len(prompt) for prompt in prompts]
    rows = [prompt[:shared] + [pad_id] * gap + prompt[shared:] for prompt, gap in zip(prompts, gaps, strict=True)]
    input_ids = torch.tensor(rows, device=next(model.parameters()).device)
    mask = torch.ones_like(input_ids)
    for row, gap in enumerate(gaps):
        mask[row, shared : shared + gap] = 0
    return input_ids, mask


def prefix_cache(model: PreTrainedModel, tokens: list[int]) -> DynamicCache:
    """Keys and values of one row of tokens."""
    input_ids = torch.tensor([tokens], device=next(model.parameters()).device)
    cache, nothing = DynamicCache(config=model.config), torch.zeros_like(input_ids, dtype=torch.bool)
    answer_logits(model, input_ids, torch.ones_like(input_ids), nothing, past_key_values=cache, use_cache=True)
    return cache


def until_end(tokens: list[int], ends: set[int]) -> list[int]:
    """Tokens up to and with the first end-of-sequence token."""
    stops = [position for position, token in enumerate(tokens) if token in ends]
    return tokens[: stops[0] + 1] if stops else tokens


class RowStops(StoppingCriteria):
    """Ends each row at its own stop strings and its own number of new tokens, and all once LEAVE of them go on.

    `done` says which have ended by themselves. A loop is no reason to stop: a greedy model may still leave it, so the
    answer could change.
    """

    def __init__(
        self, tokenizer, stops: list[list[str]], limits: list[int], prompt: int, ends: Collection[int] = ()
    ) -> None:
        """`prompt` is the tokens of the longest prompt in the batch; `ends`: ids that end a row, too."""
        self.tokenizer, self.stops, self.limits, self.prompt = tokenizer, stops, limits, prompt
        self.ends = ends
        words = {stop for row in stops for stop in row}
        lengths = {stop: len(tokenizer.encode(stop, add_special_tokens=False)) + LOOK_BACK for stop in words}
        self.windows = [max(map(lengths.get, row)) for row in stops]
        self.done = [False] * len(stops)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs) -> Tensor:
        """(batch,) bool, from prompts and new tokens (batch, tokens)."""
        new = input_ids[:, self.prompt :].tolist()
        self.done = [
            done or self._ended(row, tokens) for row, (done, tokens) in enumerate(zip(self.done, new, strict=True))
        ]
        few = self.done.count(False) <= LEAVE * len(self.done)
        return torch.tensor([few or done for done in self.done], device=input_ids.device)

    def _ended(self, row: int, tokens: list[int]) -> bool:
        if tokens[-1] in self.ends:
            return True
        text = self.tokenizer.decode(tokens[-self.windows[row] :])
        return len(tokens) >= self.limits[row] or any(stop in text for stop in self.stops[row])
