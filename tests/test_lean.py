"""LeanLM against plain Transformers and lm-eval's own HFLM."""

import math

import pytest
import torch
from conftest import byte_llama
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from solid_utils.lean import LeanLM

CONTEXT = "Question: is the sky blue? Answer:"
PAIRS = [
    *[(CONTEXT, ending) for ending in (" yes", " no, it is green", " y", " n")],
    *[("A longer context, shared by few: the end", f" {letter}") for letter in "ABCD"],
    ("", "no context"),
    ("Trailing space ", "moves"),
    ("x" * 1200, " too long for the model"),
]


def requests(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def same(first: list[tuple[float, bool]], second: list[tuple[float, bool]]) -> bool:
    values = zip(first, second, strict=True)
    return all(one[1] == two[1] and math.isclose(one[0], two[0], rel_tol=1e-5, abs_tol=1e-5) for one, two in values)


def test_likelihoods_equal_plain_transformers(tokenizer):
    model, plain = byte_llama(0), []
    for context, continuation in PAIRS[:8]:
        tokens = tokenizer.encode(context + continuation)
        start = len(tokenizer.encode(context))
        with torch.no_grad():
            logits = model(torch.tensor([tokens[:-1]])).logits[0, start - 1 :].log_softmax(-1)
        answer = torch.tensor(tokens[start:])
        plain.append((logits.gather(1, answer[:, None]).sum().item(), bool((logits.argmax(1) == answer).all())))
    assert same(LeanLM(model, tokenizer).loglikelihood(requests(PAIRS[:8])), plain)


@pytest.mark.parametrize("token_budget", [200, 100_000])
def test_likelihoods_equal_lm_evals_own(tokenizer, token_budget):
    model = byte_llama(0)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, device="cpu")
    assert same(
        LeanLM(model, tokenizer, token_budget).loglikelihood(requests(PAIRS)), theirs.loglikelihood(requests(PAIRS))
    )


def test_greedy_continuations_are_found(tokenizer):
    """Random models agree with no text; ask for what the model says."""
    model, context = byte_llama(0), tokenizer.encode(CONTEXT)
    with torch.no_grad():
        for _ in range(3):
            context.append(int(model(torch.tensor([context])).logits[0, -1].argmax()))
    start = len(context) - 3
    wrong = [*context[start:-1], (context[-1] + 1) % 257]
    asked = [(("", ""), context[:start], context[start:]), (("", ""), context[:start], wrong)]
    assert [greedy for _, greedy in LeanLM(model, tokenizer)._loglikelihood_tokens(asked)] == [True, False]


def test_four_letters_need_one_forward(tokenizer):
    model, shapes = byte_llama(0), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, arguments: shapes.append(arguments[0].shape))
    LeanLM(model, tokenizer).loglikelihood(requests(PAIRS[4:8]))
    # A blank and a letter are two byte tokens, so the input is the context and the blank.
    assert shapes == [(1, len(PAIRS[4][0]) + 1)]


def test_what_the_suite_does_not_need_says_so(tokenizer):
    lm = LeanLM(byte_llama(0), tokenizer)
    with pytest.raises(NotImplementedError, match="no benchmark of the offline suite generates text"):
        lm.generate_until([])
    with pytest.raises(NotImplementedError, match="perplexity of whole documents"):
        lm.loglikelihood_rolling([])
