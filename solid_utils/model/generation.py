"""Greedy generation of a batch of prompts, each row stopped on its own."""

import math

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel, StoppingCriteria, StoppingCriteriaList
from transformers.utils import ModelOutput

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import answer_logits, selected
from solid_utils.model.habits import agrees
from solid_utils.model.structure import positions

LOOK_BACK = 2  # tokens more than a stop string's own: the model may spell it otherwise, as in lm-eval


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: list[list[int]],
    new_tokens: int,
    pad_id: int,
    processors: LogitsProcessorList | None = None,
    stopping: StoppingCriteriaList | None = None,
    prefix: DynamicCache | None = None,
) -> list[list[int]]:
    """Greedy continuations of a batch of prompts, each cut after its end-of-sequence token.

    Prompts are padded on the left, after `prefix`, the keys and values of what they begin with, where they share that.
    Raises StudyError where an answer would need more tokens than the model has positions for.
    """
    input_ids, output = _together(model, prompts, new_tokens, pad_id, processors, stopping, prefix)
    ends = model.generation_config.eos_token_id  # one id or several
    ends = set(ends if isinstance(ends, list) else [ends])
    return [until_end(row, ends) for row in output.sequences[:, input_ids.shape[1] :].tolist()]


def pads_left(model: PreTrainedModel) -> bool:
    """Does a batch of left-padded prompts answer as each prompt alone? Tried out, once for each architecture."""

    def ask() -> tuple[Tensor, Tensor]:
        prompts = [[1, 2, 3, 4, 3, 2], [4, 3, 2]]
        together = _together(model, prompts, 1, 0, output_logits=True)[1].logits[0]
        alone = [_together(model, [prompt], 1, 0, output_logits=True)[1].logits[0] for prompt in prompts]
        return together.float(), torch.cat(alone).float()  # (prompts, vocab)

    return agrees(model, "prompts padded on the left", "only prompts of equal length share a batch", ask)


def alike(model: PreTrainedModel, prompts: list[list[int]], batches: list[list[int]]) -> list[list[int]]:
    """Batches of prompts (their numbers), split into such of equal length where the model reads padding on the left."""
    if all(len({len(prompts[number]) for number in batch}) == 1 for batch in batches) or pads_left(model):
        return batches
    lengths = [sorted({len(prompts[number]) for number in batch}, reverse=True) for batch in batches]
    pairs = [(batch, length) for batch, own in zip(batches, lengths, strict=True) for length in own]
    return [[number for number in batch if len(prompts[number]) == length] for batch, length in pairs]


def _together(
    model: PreTrainedModel,
    prompts: list[list[int]],
    new_tokens: int,
    pad_id: int,
    processors: LogitsProcessorList | None = None,
    stopping: StoppingCriteriaList | None = None,
    prefix: DynamicCache | None = None,
    **wanted: bool,
) -> tuple[Tensor, ModelOutput]:
    """The padded prompts (batch, longest), and what Transformers' own generation makes of them."""
    shared, device = prefix.get_seq_length() if prefix else 0, next(model.parameters()).device
    longest = max(map(len, prompts))
    if longest + new_tokens > (most := positions(model) or math.inf):
        raise StudyError(
            f"model: answers of {new_tokens} tokens to prompts of {longest}, it has positions for {most}; lower length "
            "or new_tokens in configs/tiers.yaml"
        )
    gaps = [longest - len(prompt) for prompt in prompts]
    rows = zip(prompts, gaps, strict=True)
    input_ids = torch.tensor(
        [prompt[:shared] + [pad_id] * gap + prompt[shared:] for prompt, gap in rows], device=device
    )
    mask = torch.ones_like(input_ids)
    for row, gap in enumerate(gaps):
        mask[row, shared : shared + gap] = 0
    known = {"past_key_values": selected(prefix, [0] * len(prompts))} if prefix else {}
    output = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=pad_id,
        logits_processor=processors,
        stopping_criteria=stopping,
        return_dict_in_generate=True,
        **known,
        **wanted,
    )
    return input_ids, output


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
    """Ends each row at its own stop strings and its own number of new tokens; the others go on.

    A loop is no reason to stop: a greedy model may still leave it, so the answer could change.
    """

    def __init__(self, tokenizer, stops: list[list[str]], limits: list[int], prompt: int) -> None:
        """`prompt` is the tokens of the longest prompt in the batch."""
        self.tokenizer, self.stops, self.limits, self.prompt = tokenizer, stops, limits, prompt
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
        return torch.tensor(self.done, device=input_ids.device)

    def _ended(self, row: int, tokens: list[int]) -> bool:
        text = self.tokenizer.decode(tokens[-self.windows[row] :])
        return len(tokens) >= self.limits[row] or any(stop in text for stop in self.stops[row])
