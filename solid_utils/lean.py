"""LeanLM: lm-eval's view of a model in memory, which computes what the requests share once."""

from collections import defaultdict

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import resolve_max_length
from torch import Tensor
from tqdm import tqdm

from solid_utils import machine
from solid_utils.forward import TOKEN_BUDGET, LastLogits, measuring

NAN = float("nan")


class LeanLM(TemplateLM):
    """lm-eval's view of a causal language model in memory; dtype is the caller's (weights, autocast).

    Requests with the same model input run once (the four letters of an MMLU question), requests with a common prefix
    share its keys and values (the endings of a HellaSwag context), and the output head sees answer positions only.
    """

    def __init__(self, model, tokenizer, token_budget: int = TOKEN_BUDGET) -> None:
        super().__init__()
        self.model, self.tokenizer, self.token_budget = model, tokenizer, token_budget
        self.max_length = resolve_max_length(model.config, tokenizer)

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """Context of a request without context: as in lm-eval's own HFLM."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs) -> list[int]:
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **special)

    def loglikelihood(self, requests: list, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability, is it the greedy continuation) of each request. One progress bar, over model inputs."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("no benchmark of the offline suite measures the perplexity of whole documents")

    def generate_until(self, requests: list, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError("no benchmark of the offline suite generates text; they compare likelihoods")

    def _loglikelihood_tokens(self, requests: list, disable_tqdm: bool = False, **kwargs) -> list[tuple[float, bool]]:
        asked = defaultdict(list)  # model input -> numbers of the requests it answers
        for number, (_, context, continuation) in enumerate(requests):
            asked[tuple((context + continuation)[-(self.max_length + 1) : -1])].append(number)
        rows = sorted(asked)
        kept = [max(len(requests[number][2]) for number in asked[row]) for row in rows]
        answers = [(NAN, False)] * len(requests)
        with measuring(self.model), tqdm(total=len(rows), desc="benchmarks", unit="input", leave=False) as progress:
            for index, logits in LastLogits(self.model, rows, kept, self.eot_token_id, self.token_budget):
                for number in asked[rows[index]]:
                    answers[number] = _score(logits, requests[number][2])
                progress.update()
                machine.release_memory(machine.GROWTH)
        return answers


def _score(logits: Tensor, continuation: list[int]) -> tuple[float, bool]:
    """Log-probability of a continuation and whether it is greedy, from logits (>= continuation, vocab) at its end."""
    tokens = torch.tensor(continuation, device=logits.device)
    logits = logits[-len(continuation) :]
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    # argmax over a large vocabulary is slow on a CPU, amax is not, and few continuations come near it.
    greedy = chosen.equal(logits.amax(1)) and logits.argmax(1).equal(tokens)
    return (chosen - logits.logsumexp(1)).sum().item(), greedy
