"""Likelihoods against plain Transformers and lm-eval's own HFLM; fidelity."""

import math
import socket

import lm_eval
import pytest
import torch
from conftest import build
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from packaged import C4, MMLU, MORE_MMLU, write_raw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from solid_utils import benchmarks, evaluation, schema
from solid_utils.errors import StudyError
from solid_utils.evaluation import LeanLM, fidelity, run_benchmarks
from solid_utils.items import write_benchmarks, write_items


@pytest.fixture
def items(tmp_path):
    """The suite's item files."""
    write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, MORE_MMLU, C4)
    return tmp_path / "items"


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes as tokens: any text, no download."""
    vocabulary = {"<end>": 0} | {byte: n + 1 for n, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    plain = Tokenizer(models.BPE(vocabulary, []))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>")


def byte_llama(seed: int) -> LlamaForCausalLM:
    """A tiny random Llama over bytes."""
    torch.manual_seed(seed)
    shape = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, **ends, max_position_embeddings=1024)).eval()


# Likelihoods

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


# The suite


def test_rows(items, tokenizer):
    rows = {row["benchmark"]: row for row in run_benchmarks(byte_llama(0), tokenizer, items)}
    assert tuple(rows) == benchmarks.BENCHMARKS
    assert all(list(row) == schema.OUTCOME for row in rows.values())
    assert rows["truthfulqa_mc1"]["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert rows["truthfulqa_mc1"]["task_version"] == "2.0"
    assert [rows[name]["chance"] for name in ("hellaswag", "mmlu_letter", "capitals")] == [0.25, 0.25, 0.0]
    assert [rows[name]["shots"] for name in ("hellaswag", "capitals", "sums_2digit")] == [0, 2, 2]
    assert [rows[name]["metric"] for name in ("hellaswag", "mmlu_letter")] == ["acc_norm", "acc"]
    assert rows["capitals"]["n"] == 244
    assert all(0 <= row["value"] <= 1 and math.isnan(row["floor"]) for row in rows.values())
    assert {row["n"] for row in run_benchmarks(byte_llama(0), tokenizer, items, limit=2)} == {2}


def test_scores_equal_lm_evals_own(items, tokenizer):
    model = byte_llama(1)
    rows = run_benchmarks(model, tokenizer, items, limit=5)
    tasks = {name: evaluation._task(name, items) for name in benchmarks.BENCHMARKS}
    theirs = lm_eval.evaluate(HFLM(pretrained=model, tokenizer=tokenizer, device="cpu"), {"tasks": tasks}, limit=5)
    for row in rows:
        result = theirs["results"][row["benchmark"]]
        assert row["value"] == result[f"{row['metric']},none"]
        assert row["stderr"] == result[f"{row['metric']}_stderr,none"]


def test_a_replica_does_not_inherit_the_victims_answers(items, tokenizer, monkeypatch):
    for greedy in (True, False):
        monkeypatch.setattr(
            LeanLM, "_loglikelihood_tokens", lambda _, asked, g=greedy, **kwargs: [(0.0, g)] * len(asked)
        )
        rows = {row["benchmark"]: row["value"] for row in run_benchmarks(byte_llama(0), tokenizer, items)}
        assert rows["capitals"] == rows["sums_1digit"] == float(greedy)


def test_requests_are_built_once_and_again_for_new_items(items, tokenizer, monkeypatch):
    built = []
    context = evaluation.ConfigurableTask.fewshot_context
    monkeypatch.setattr(
        evaluation.ConfigurableTask,
        "fewshot_context",
        lambda *args, **kwargs: built.append(1) or context(*args, **kwargs),
    )
    for _ in range(2):
        run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
        assert len(built) == len(benchmarks.BENCHMARKS)
    write_items([{"country": "Atlantis", "capital": "Poseidonis"}], items / "capitals.jsonl")
    run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
    assert len(built) == 2 * len(benchmarks.BENCHMARKS)


def test_nothing_is_looked_up(items, tokenizer, monkeypatch):
    attempts = []

    def refuse(*address, **kwargs):
        attempts.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    run_benchmarks(byte_llama(0), tokenizer, items, limit=1)
    assert not attempts


def test_missing_items_get_one_line(tmp_path, tokenizer):
    with pytest.raises(StudyError, match=r"hellaswag.jsonl: missing; run `dvc repro sets`"):
        run_benchmarks(byte_llama(0), tokenizer, tmp_path)


# Fidelity


def by_metric(rows: list[dict]) -> dict[str, dict]:
    assert all(list(row) == schema.OUTCOME for row in rows)
    return {row["metric"]: row for row in rows}


def test_the_victim_agrees_with_itself(model, tokenizer, samples):
    for twin in (model, build_again(model)):
        rows = by_metric(fidelity(twin, model, tokenizer, samples))
        assert rows["agreement"]["value"] == 1
        assert rows["agreement"]["stderr"] == 0
        assert rows["kl"]["value"] == pytest.approx(0, abs=1e-6)


def build_again(model):
    twin = type(model)(model.config).eval()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("token_budget", [12, 4096])
def test_fidelity_equals_its_definition(tokenizer, samples, monkeypatch, token_budget):
    monkeypatch.setattr(evaluation, "TOKEN_BUDGET", token_budget)
    victim, replica = build("llama"), build("gpt2")
    rows = by_metric(fidelity(replica, victim, tokenizer, samples))
    agreeing, kl, loss = [], [], []
    for sample in samples:
        ids, start = torch.tensor([sample["input_ids"]]), sample["answer_start"]
        with torch.no_grad():
            own = replica(ids).logits[0, start - 1 : -1].log_softmax(-1)
            other = victim(ids).logits[0, start - 1 : -1].log_softmax(-1)
        agreeing.append((own.argmax(1) == other.argmax(1)).double())
        kl.append((other.exp() * (other - own)).sum(1).mean().double())
        loss.append(-own.gather(1, ids[0, start:, None]).mean().double())
    count, kl, loss = sum(map(len, agreeing)), torch.stack(kl), torch.stack(loss)
    assert rows["agreement"]["value"] == pytest.approx(torch.cat(agreeing).mean().item())
    assert rows["kl"]["value"] == pytest.approx(kl.mean().item(), rel=1e-5)
    assert rows["kl"]["stderr"] == pytest.approx(kl.std().item() / math.sqrt(5), rel=1e-4)
    assert rows["cross_entropy"]["value"] == pytest.approx(loss.mean().item(), rel=1e-5)
    assert rows["perplexity"]["value"] == pytest.approx(math.exp(loss.mean().item()), rel=1e-5)
    assert [rows[metric]["n"] for metric in ("agreement", "kl", "cross_entropy", "perplexity")] == [count, 5, 5, 5]


@pytest.mark.parametrize("room", [0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_remembered_victim_gives_the_same_and_runs_once(tokenizer, samples, room, dtype):
    victim, replica, runs = build("llama").to(dtype), build("gpt2"), []
    expected = fidelity(replica, victim, tokenizer, samples)
    victim.register_forward_hook(lambda *_: runs.append(1))
    remembered = evaluation.Remembered(victim, room)
    assert all(fidelity(replica, remembered, tokenizer, samples) == expected for _ in range(3))
    assert len(runs) == (1 if room else 3)


def test_agreements_error_is_clustered_by_sample():
    """Four samples that agree wholly or not at all are worth four observations, however many tokens they have."""
    share, stderr = evaluation._pooled(torch.tensor([50.0, 0.0, 50.0, 0.0]), torch.tensor([50.0, 50.0, 50.0, 50.0]))
    assert (share, stderr) == (0.5, pytest.approx(0.5 / math.sqrt(3)))


def test_dropout_is_off_while_measuring(tokenizer, samples):
    model = build("gpt2").train()
    first, second = (fidelity(model, model, tokenizer, samples) for _ in range(2))
    assert [row["value"] for row in first] == [row["value"] for row in second]
    assert model.training


@pytest.mark.parametrize(
    "broken", [[], [{"input_ids": [1, 2], "answer_start": 2}], [{"input_ids": [1], "answer_start": 0}]]
)
def test_samples_without_answers_get_one_line(llama, tokenizer, broken):
    with pytest.raises(StudyError, match="mend the evaluation set"):
        fidelity(llama, llama, tokenizer, broken)
