"""How close a replica is to the victim on held-out samples (paper 3.1): agreement, KL, cross-entropy, same answers."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.core.numbers import standard_error
from solid_utils.core.scored import Scored, libraries
from solid_utils.model import accelerator
from solid_utils.model.answers import most_likely
from solid_utils.model.forward import (
    BATCH_COST,
    TOKEN_BUDGET,
    answer_logits,
    answer_positions,
    length_batches,
    measuring,
    pad,
)
from solid_utils.model.generation import alike, generate
from solid_utils.settings import params

FIDELITY_VERSION = "1.0"
NAN = float("nan")
LARGEST = 700.0  # nats whose exponential is still a float


class Remembered:
    """The victim's answer logits, computed once as long as they take at most `room` bytes, and its greedy answers.

    `victim` gives the model and is asked only for logits that are not kept; while `complete`, all asked so far are.
    `cached` (State.cached) keeps greedy answers for another process, as minutes of a large victim.
    """

    def __init__(
        self,
        victim: Callable[[], PreTrainedModel],
        room: float = 8e8,
        cached: Callable[[str, Callable[[], dict]], dict] = lambda _, compute: compute(),
    ) -> None:
        self.victim = victim
        self.room = room
        self.kept = {}
        self.complete = True
        self.cached = cached
        self.answered: dict[str, tuple[list[dict], list[np.ndarray]]] = {}

    def logits(self, *inputs: Tensor) -> Tensor:
        """Logits (answer tokens, vocab) of right-padded input_ids, mask and kept positions, see answer_logits."""
        key = tuple(tuple(part.flatten().tolist()) for part in inputs)  # a text may be asked for other answers
        if key in self.kept:
            return self.kept[key]
        victim = self.victim()
        with measuring(victim):
            logits = _logits(victim, *inputs)
        if logits.nbytes <= self.room:
            self.kept[key] = logits
            self.room = self.room - logits.nbytes
        else:
            self.complete = False
        return logits

    def answers(self, prompts: list[list[int]], new_tokens: int, pad_id: int) -> tuple[list[dict], list[np.ndarray]]:
        """Samples with the victim's greedy answers to the prompts, and its most likely tokens where it reads them."""
        key = hashlib.sha256(str((prompts, new_tokens)).encode()).hexdigest()[:16]
        if key not in self.answered:
            kept = self.cached(f"answers-{key}", lambda: self.asked(prompts, new_tokens, pad_id))
            self.answered[key] = kept["samples"], [np.array(one) for one in kept["read"]]
        return self.answered[key]

    def asked(self, prompts: list[list[int]], new_tokens: int, pad_id: int) -> dict[str, list]:
        """What `answers` returns, computed, as JSON holds it."""
        victim = self.victim()
        samples: list[dict] = [{}] * len(prompts)
        with measuring(victim):
            groups = length_batches(list(map(len, prompts)), TOKEN_BUDGET, fixed=BATCH_COST * new_tokens)
            for group in alike(victim, prompts, groups):
                answers = generate(victim, [prompts[index] for index in group], new_tokens, pad_id)
                for index, answer in zip(group, answers, strict=True):
                    samples[index] = {"input_ids": prompts[index] + answer, "answer_start": len(prompts[index])}
            read = most_likely(victim, samples, pad_id)
        return {"samples": samples, "read": [one.tolist() for one in read]}


def held_out(replica, victim, tokenizer, sets: dict[str, list[dict]], wanted: params.Evaluation) -> Scored:
    """Fidelity and greedy_match on each of data.held_out's sets, in and out of the attack's distribution.

    The first `wanted.greedy.prompts` samples of each set are asked for greedy answers, or all there are.
    `victim` may be Remembered, as in `fidelity`.
    """
    greedy = wanted.greedy
    scored = Scored()
    for name, samples in sets.items():
        prompted = list(map(_prompted, samples[: greedy.prompts]))
        scored += fidelity(replica, victim, tokenizer, samples, name)
        scored += greedy_match(replica, victim, tokenizer, prompted, greedy.new_tokens, name)
    return scored


def _prompted(sample: dict) -> dict:
    """The sample, or a text all of whose tokens count (data.apart) with its first half as the prompt."""
    whole = sample["answer_start"] == 1
    return sample | {"answer_start": (len(sample["input_ids"]) + 1) // 2} if whole else sample


def greedy_match(
    replica, victim, tokenizer, samples: list[dict], new_tokens: int, benchmark: str = "evaluation"
) -> Scored:
    """Do replica and victim answer the samples' prompts with the same `new_tokens` greedy tokens? (paper 3.1)

    greedy_match: share of prompts whose answers are identical; common_prefix: mean share of the victim's answer that
    the replica gives before it first departs. The victim's answer is generated, and both models read it (see
    answers.most_likely): the victim too, because reading and generating round differently where two tokens are nearly
    as likely (in bfloat16 SmolLM2-135M reads 5 of 24 of its own answers otherwise than it wrote them).
    n prompts; no items, as a benchmark's items are those of one metric, here the agreement.
    """
    prompts = [sample["input_ids"][: sample["answer_start"]] for sample in samples]
    answered, theirs = _remembered(victim).answers(prompts, new_tokens, tokenizer.pad_token_id)
    with measuring(replica):
        own = most_likely(replica, answered, tokenizer.pad_token_id)
    pairs = zip(own, theirs, strict=True)
    shares = torch.tensor([np.logical_and.accumulate(a == b).mean() for a, b in pairs], dtype=torch.float64)
    return Scored(
        [
            _fidelity_row(benchmark, "greedy_match", *_mean((shares == 1).double()), len(samples)),
            _fidelity_row(benchmark, "common_prefix", *_mean(shares), len(samples)),
        ]
    )


def _remembered(victim) -> Remembered:
    return victim if isinstance(victim, Remembered) else Remembered(lambda: victim, room=0)


def fidelity(replica, victim, tokenizer, samples: list[dict], benchmark: str = "evaluation") -> Scored:
    """How close a replica is to the victim (paper 3.1) on the answer tokens of {"input_ids", "answer_start"} samples.

    agreement: share of answer tokens where both models' most likely token is the same; kl: KL(victim || replica) in
    nats; cross_entropy: the replica's, on the samples' own tokens, in nats; perplexity: its exponential.
    Agreement pools all tokens (n tokens, standard error clustered by sample, since tokens of one answer are not
    independent). The others are means over a sample's tokens, then over samples, like DD (n samples).
    `victim` may be Remembered, where several replicas meet the same samples. Rows have schema.OUTCOME's columns,
    under the name `benchmark`; an item is a sample (by its id): value its agreeing tokens, weight its answer tokens.
    Raises StudyError when there is no sample or one without an answer token.
    """
    if not samples or any(not 0 < sample["answer_start"] < len(sample["input_ids"]) for sample in samples):
        raise StudyError("fidelity: needs samples, each with a prompt and an answer token; mend the evaluation set")
    scores = torch.zeros(len(samples), 4, dtype=torch.float64)  # per sample: tokens, agreeing, sum of KL, sum of CE
    batches = length_batches([len(sample["input_ids"]) for sample in samples], TOKEN_BUDGET)
    known = None if victim is replica else _remembered(victim)  # compared with itself it needs no second forward
    with measuring(replica):
        for batch in tqdm(batches, desc="fidelity", unit="batch", leave=False):
            scores[batch] = _compare(replica, known, tokenizer, [samples[index] for index in batch])
            accelerator.release_memory(accelerator.GROWTH)
    tokens, agreeing, kl, cross_entropy = scores.unbind(1)
    if (broken := ~(kl + cross_entropy).isfinite()).any():
        raise StudyError(
            f"fidelity: {benchmark}: logits on {samples[int(broken.nonzero()[0])]['id']} are not finite; the model's "
            "weights are broken, or training diverged: lower learning_rate in configs/tiers.yaml"
        )
    loss, loss_error = _mean(cross_entropy / tokens)
    perplexity = math.exp(min(loss, LARGEST))  # a diverged replica's would not fit a float
    rows = [
        _fidelity_row(benchmark, "agreement", *_pooled(agreeing, tokens), int(tokens.sum())),
        _fidelity_row(benchmark, "kl", *_mean(kl / tokens), len(samples)),
        _fidelity_row(benchmark, "cross_entropy", loss, loss_error, len(samples)),
        _fidelity_row(benchmark, "perplexity", perplexity, perplexity * loss_error, len(samples)),
    ]
    counts = zip(samples, tokens.tolist(), agreeing.tolist(), (kl / tokens).tolist(), strict=True)
    texts = [
        {"benchmark": benchmark, "item": one["id"], "tokens": size, "agreeing": hits, "kl": apart}
        for one, size, hits, apart in counts
    ]
    items = [
        {"benchmark": benchmark, "item": text["item"], "value": text["agreeing"], "weight": text["tokens"]}
        for text in texts
    ]
    return Scored(rows, items, texts)


def _compare(replica, remembered: Remembered | None, tokenizer, samples: list[dict]) -> Tensor:
    """Per sample (samples, 4): answer tokens, agreeing ones, sum of KL, sum of the replica's cross-entropy."""
    input_ids, mask = pad([sample["input_ids"] for sample in samples], tokenizer.pad_token_id)  # (samples, tokens)
    keep = answer_positions(samples, mask)
    labels = input_ids[keep.roll(1, dims=1)].to(replica.device)  # (answer tokens,)
    sample_of = keep.nonzero()[:, 0]  # (answer tokens,)
    logits = _logits(replica, input_ids, mask, keep)  # (answer tokens, vocab)
    theirs = remembered.logits(input_ids, mask, keep).to(logits.device) if remembered else logits
    scores = torch.zeros(len(samples), 4, dtype=torch.float64)
    # In chunks: softmaxes over a large vocabulary take more memory than the forward.
    chunks = (tensor.split(128) for tensor in (logits, theirs, labels, sample_of))
    for own, other, label, owner in zip(*chunks, strict=True):
        own, other = (part.log_softmax(1, dtype=torch.float32) for part in (own, other))  # (128, vocab)
        agree, kl = compared(own, other)
        loss = -own.gather(1, label[:, None])[:, 0]
        columns = torch.stack([torch.ones_like(loss), agree, kl, loss], dim=1).double().cpu()
        scores.index_add_(0, owner, columns)
    return scores


def compared(own: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Of log-probabilities (tokens, vocab): (tokens,) is the same token most likely, and KL(theirs || own) in nats."""
    return own.argmax(1) == theirs.argmax(1), (theirs.exp() * (theirs - own)).sum(1)


def _logits(model, *tensors: Tensor) -> Tensor:
    return answer_logits(model, *(tensor.to(model.device) for tensor in tensors))


def _mean(values: Tensor) -> tuple[float, float]:
    """Mean and its standard error (nan for a single value) over (samples,)."""
    return values.mean().item(), standard_error(values.numpy())


def _pooled(counts: Tensor, tokens: Tensor) -> tuple[float, float]:
    """Share counts.sum() / tokens.sum() and its standard error with samples as clusters (linearised ratio)."""
    share = (counts.sum() / tokens.sum()).item()
    samples = len(tokens)
    if samples == 1:
        return share, NAN
    residuals = counts - share * tokens  # (samples,)
    return share, (math.sqrt(samples / (samples - 1)) * residuals.norm() / tokens.sum()).item()


def _fidelity_row(benchmark: str, metric: str, value: float, stderr: float, n: int) -> dict:
    score = {"metric": metric, "value": value, "stderr": stderr, "n": n, "chance": NAN, "floor": NAN}
    how = {"task_version": FIDELITY_VERSION, "forward_tokens": TOKEN_BUDGET, "libraries": libraries()}
    return {"benchmark": benchmark, "domain": "fidelity", "shots": 0} | score | how
