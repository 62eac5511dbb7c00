"""LeanLM: lm-eval's view of a model in memory, which computes what the requests share once."""

import math
from collections import defaultdict
from collections.abc import Iterator

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
    resolve_max_length,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache

from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator
from solid_utils.model import tokenizer as door
from solid_utils.model.forward import (
    BATCH_COST,
    TOKEN_BUDGET,
    LastLogits,
    length_batches,
    measuring,
    shared_prefixes,
    shares_prefixes,
)
from solid_utils.model.generation import alike, generate_rows, prefix_cache
from solid_utils.model.structure import positions

NEW_TOKENS = 256  # of an answer whose task names no limit, as in HFLM
GENERATED = 4  # token budgets a generated batch may fill: a step takes about as long for many rows as for one
NAN = float("nan")


class LeanLM(TemplateLM):
    """lm-eval's view of a causal language model in memory; dtype is the caller's (weights, autocast).

    Requests with the same model input run once (the four letters of an MMLU question), requests with a common prefix
    share its keys and values (the endings of a HellaSwag context), and the output head sees answer positions only.
    Texts are generated likewise, in batches of like length, which each row leaves when it ends.
    """

    def __init__(self, model, tokenizer, token_budget: int = TOKEN_BUDGET) -> None:
        super().__init__()
        self.model, self.tokenizer, self.token_budget = model, tokenizer, token_budget
        # RoBERTa's configuration counts two positions that no token has.
        self.max_length = min(resolve_max_length(model.config, tokenizer), positions(model) or math.inf)

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """Context of a request without context: as in lm-eval's own HFLM."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs) -> list[int]:
        if add_special_tokens is None:
            return door.begun(self.tokenizer, string)
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def loglikelihood(self, requests: list, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability, is it the greedy continuation) of each request. One progress bar, over model inputs."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list, disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text, given the first token only; long texts in windows, as in HFLM."""
        windows, owners = [], []
        for number, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(number)
        totals = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += value
        return totals

    def generate_until(self, requests: list, disable_tqdm: bool = False) -> list[str]:
        """Greedy continuation of each request, up to its own stop string, end token or number of tokens.

        What HFLM gives for a batch of one. Raises StudyError where sampling is asked for, or no room for a prompt left.
        """
        asked = [self._asked(*request.args) for request in requests]
        texts = [""] * len(requests)
        with measuring(self.model), tqdm(total=len(requests), desc="answers", unit="answer", leave=False) as progress:
            for shared, family in self._families(asked):
                prefix = prefix_cache(self.model, asked[family[0]][0][:shared]) if shared else None
                for indices in self._batches(asked, family, shared):
                    for index, text in zip(indices, self._generate([asked[n] for n in indices], prefix), strict=True):
                        texts[index] = text
                    progress.update(len(indices))
                    accelerator.release_memory(accelerator.GROWTH)
        return texts

    def _batches(
        self, asked: list[tuple[list[int], list[str], int]], family: list[int], shared: int
    ) -> Iterator[list[int]]:
        """Requests of a family that are generated together."""
        # A row goes on until the last one ends: where positions run out, only rows with the same room go together.
        apart = positions(self.model) is not None
        for limit in sorted({asked[index][2] for index in family}) if apart else [None]:
            members = [index for index in family if limit in (None, asked[index][2])]
            sizes = [len(asked[index][0]) - shared + asked[index][2] for index in members]
            fixed = BATCH_COST * max(asked[index][2] for index in members)  # a forward a new token
            batches = length_batches(sizes, GENERATED * self.token_budget, fixed, held=shared)
            for batch in alike(self.model, [asked[index][0] for index in members], batches):
                yield [members[place] for place in batch]

    def _families(self, asked: list[tuple[list[int], list[str], int]]) -> list[tuple[int, list[int]]]:
        """(shared tokens, requests) of contexts that begin alike, such as with the same worked examples."""
        order = sorted(range(len(asked)), key=lambda index: asked[index][0])
        longest = max((len(context) + limit for context, _, limit in asked), default=0)
        if not order or not shares_prefixes(self.model, longest):
            return [(0, order)] if order else []
        families = shared_prefixes([tuple(asked[index][0]) for index in order], [1] * len(order))
        return [(shared, [order[place] for place in members]) for shared, members in families]

    def _asked(self, context: str, settings: dict) -> tuple[list[int], list[str], int]:
        """(tokens of the context, cut on the left so that the answer fits; stop strings; new tokens at most)."""
        settings = normalize_gen_kwargs(settings, NEW_TOKENS)
        limit = settings["max_gen_toks"]
        if settings["do_sample"]:
            raise StudyError("benchmarks: a task asks for sampling; set do_sample: false in its generation_kwargs")
        if limit >= self.max_length:
            raise StudyError(
                f"benchmarks: answers of {limit} tokens leave no room for a prompt in the model's {self.max_length}; "
                "choose a model with a longer context or leave the task out"
            )
        stops = handle_stop_sequences(settings["until"], eos=self.tokenizer.decode(self.eot_token_id))
        return self.tok_encode(context)[-(self.max_length - limit) :], stops, limit

    def _generate(self, asked: list[tuple[list[int], list[str], int]], prefix: DynamicCache | None) -> list[str]:
        contexts, stops, limits = zip(*asked, strict=True)
        rows = generate_rows(self.model, self.tokenizer, contexts, stops, limits, self.eot_token_id, prefix)
        texts = [self.tokenizer.decode(row, skip_special_tokens=True) for row in rows]
        return [postprocess_generated_text(text, stop, None) for text, stop in zip(texts, stops, strict=True)]

    def _loglikelihood_tokens(self, requests: list, disable_tqdm: bool = False, **kwargs) -> list[tuple[float, bool]]:
        asked = defaultdict(list)  # model input -> numbers of the requests it answers
        for number, (_, context, continuation) in enumerate(requests):
            # Without the last token, which predicts nothing asked for; too long ones are cut on the left, as in HFLM.
            asked[tuple((context + continuation)[-(self.max_length + 1) : -1])].append(number)
        rows = sorted(asked)  # so that kin stand side by side, see shared_prefixes
        kept = [max(len(requests[number][2]) for number in asked[row]) for row in rows]
        answers = [(NAN, False)] * len(requests)
        with measuring(self.model), tqdm(total=len(rows), desc="benchmarks", unit="input", leave=False) as progress:
            for index, logits in LastLogits(self.model, rows, kept, self.eot_token_id, self.token_budget):
                for number in asked[rows[index]]:
                    answers[number] = _score(logits, requests[number][2])
                progress.update()
                accelerator.release_memory(accelerator.GROWTH)
        return answers


def _score(logits: Tensor, continuation: list[int]) -> tuple[float, bool]:
    """Log-probability of a continuation and whether it is greedy, from logits (>= continuation, vocab) at its end."""
    tokens = torch.tensor(continuation, device=logits.device)
    logits = logits[-len(continuation) :].float()
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    # argmax over a large vocabulary is slow on a CPU, amax is not, and few continuations come near it.
    greedy = chosen.equal(logits.amax(1)) and logits.argmax(1).equal(tokens)
    return (chosen - logits.logsumexp(1)).sum().item(), greedy
