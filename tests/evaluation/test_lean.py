"""LeanLM against plain Transformers and lm-eval's own HFLM."""

import math
import string

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from solid_utils.core.errors import StudyError
from solid_utils.evaluation.lean import LeanLM
from tests.conftest import byte_llama

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


TEXTS = ["Short.", CONTEXT, "one two three " * 30, "x" * 2500, "<end>begins with the first token"]


@pytest.mark.parametrize("token_budget", [200, 100_000])
def test_likelihoods_of_whole_texts_equal_lm_evals_own(tokenizer, token_budget):
    model = byte_llama(0)
    asked = [Instance("loglikelihood_rolling", {}, (text,), number) for number, text in enumerate(TEXTS)]
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, device="cpu").loglikelihood_rolling(asked)
    assert LeanLM(model, tokenizer, token_budget).loglikelihood_rolling(asked) == pytest.approx(theirs, rel=1e-5)


# Generation


@pytest.fixture
def speaker(tokenizer):
    """A tiny random model that says letters only: bytes that are no text on their own would blur where a stop is."""
    model, letters = byte_llama(0), tokenizer.encode(string.ascii_letters)
    silent = [token for token in range(257) if token not in letters]
    with torch.no_grad():
        model.lm_head.weight[silent] = 0
    return model


def answers(texts: list[str], until: list[str], limit: int = 24) -> list[Instance]:
    settings = {"until": until, "max_gen_toks": limit, "do_sample": False}
    return [Instance("generate_until", {}, (text, settings), number) for number, text in enumerate(texts)]


def alone(model, tokenizer, asked: list[Instance]) -> list[str]:
    """lm-eval's own answers, one request at a time."""
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu").generate_until(asked)


@pytest.mark.parametrize("token_budget", [20, 100_000])
def test_generated_texts_equal_lm_evals_own(tokenizer, speaker, token_budget):
    free = answers(TEXTS, ["never said"])
    texts = alone(speaker, tokenizer, free)
    stops = [text[3 + number : 5 + number] for number, text in enumerate(texts)]
    asked = [*free, *answers(TEXTS, stops), *answers(TEXTS, stops[:1], limit=7)]
    theirs = alone(speaker, tokenizer, asked)
    assert len(set(theirs)) > 2 * len(TEXTS)  # the stops do cut
    assert LeanLM(speaker, tokenizer, token_budget).generate_until(asked) == theirs


def test_a_shared_beginning_is_read_once(tokenizer, speaker):
    """Three families: the same worked examples before questions of several lengths, others, and a prompt alone."""
    first, second = "Question: one? Answer: two. " * 5, "Context: the end. " * 8
    texts = [
        *(first + rest for rest in ("And now?", "So", "Which one is it now?")),
        second + "a",
        second + "or b",
        "No.",
    ]
    asked, shapes = answers(texts, ["never said"], limit=3), []
    speaker.get_input_embeddings().register_forward_pre_hook(lambda _, arguments: shapes.append(arguments[0].shape))
    said = LeanLM(speaker, tokenizer).generate_until(asked)
    assert (1, len(first)) in shapes and (1, len(second)) in shapes
    assert max(rows * width for rows, width in shapes) == len(second)
    assert said == alone(speaker, tokenizer, asked)


def test_generation_ends_with_its_last_row(tokenizer, speaker):
    """The first row says its stop later than the second, and neither goes on to the limit."""
    first, second = alone(speaker, tokenizer, answers(TEXTS[:2], ["never said"]))
    asked, steps = [*answers(TEXTS[:1], [first[5:9]]), *answers(TEXTS[1:2], [second[:3]])], []
    speaker.register_forward_pre_hook(lambda *_: steps.append(1))
    assert LeanLM(speaker, tokenizer).generate_until(asked) == [first[: first.index(first[5:9])], ""]
    assert len(steps) == first.index(first[5:9]) + 4


@pytest.mark.parametrize("reuses", [True, False])
def test_finished_rows_leave_the_batch(tokenizer, speaker, monkeypatch, reuses):
    """Eight rows, all but one of which end after a few letters; that one goes on alone, with or without its cache."""
    if not reuses:
        monkeypatch.setattr("solid_utils.model.generation.shares_prefixes", lambda *_: False)
    texts = [f"{number} {'so ' * number}on" for number in range(8)]
    said = alone(speaker, tokenizer, answers(texts, ["never said"]))
    asked = [*answers(texts[:1], ["never said"])]
    asked += [one for text, whole in zip(texts[1:], said[1:], strict=True) for one in answers([text], [whole[2:5]])]
    rows = []
    speaker.get_input_embeddings().register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
    assert LeanLM(speaker, tokenizer).generate_until(asked) == alone(speaker, tokenizer, asked)
    ours = rows[: rows.index(1) + 24 - 6]  # what follows is lm-eval's own
    assert ours[0] == 8 and 1 in ours and sum(ours) < 8 * 8 + 24


def test_the_end_token_stops(tokenizer, speaker):
    (text,) = alone(speaker, tokenizer, answers(TEXTS[:1], ["never said"]))
    speaker.generation_config.eos_token_id = tokenizer.encode(text[5])[0]
    said = text[: text.index(text[5]) + 1]
    assert alone(speaker, tokenizer, answers(TEXTS[:1], [])) == [said]
    assert LeanLM(speaker, tokenizer).generate_until(answers(TEXTS[:1], [])) == [said]


def test_what_cannot_be_generated_gets_one_line(tokenizer):
    lm = LeanLM(byte_llama(0), tokenizer)
    with pytest.raises(StudyError, match="answers of 1024 tokens leave no room for a prompt in the model's 1024"):
        lm.generate_until(answers(TEXTS[:1], [], limit=1024))
    sampled = Instance("generate_until", {}, ("", {"until": [], "do_sample": True, "temperature": 1.0}), 0)
    with pytest.raises(StudyError, match="set do_sample: false"):
        lm.generate_until([sampled])
