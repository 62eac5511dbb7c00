"""Scores of a model in memory: the offline benchmark suite through lm-eval, and fidelity to the victim.

lm-eval supplies tasks, prompts and metrics; only its model class is ours (LeanLM), which computes what the requests
share once. Nothing here looks anything up on a hub.
"""

import math
import tempfile
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import datasets
import lm_eval
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.utils import resolve_max_length
from lm_eval.tasks._yaml_loader import load_yaml
from torch import Tensor
from tqdm import tqdm

from solid_utils import machine
from solid_utils.benchmarks import BENCHMARKS, TASKS
from solid_utils.errors import StudyError
from solid_utils.forward import LastLogits, answer_logits, length_batches, measuring, pad

TOKEN_BUDGET = 2048  # tokens of a batch, padding and shared prefixes included
FIDELITY_VERSION = "1.0"
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


class _BuiltOnce(ConfigurableTask):
    """A task whose requests are built for the first model and shared by the next ones."""

    _instances = None

    def build_all_requests(self, **settings) -> None:
        if self._instances is None:
            super().build_all_requests(**settings)
        for instance in self._instances:
            instance.resps, instance.filtered_resps = [], {}  # else the first model's answers would count for all


def run_benchmarks(model, tokenizer, items: Path, limit: int | None = None) -> list[dict]:
    """Score a model on every benchmark whose items lie in `items` (see benchmarks.write_benchmarks).

    One row a benchmark: benchmark, domain, shots, metric, value and chance in [0, 1], stderr over items, n items,
    floor (nan: not measured), task_version. `limit` takes the first items of each. Runs in the caller's dtype; under
    autocast, parameters that require gradients are cast once, frozen ones again in every batch.
    Raises StudyError when an item file is missing.
    """
    tasks = _tasks(items.resolve(), limit, _stamps(items))
    outcome = lm_eval.evaluate(LeanLM(model, tokenizer), {"tasks": tasks}, limit=limit, log_samples=False)
    return [_row(task, outcome["results"][name], limit) for name, task in tasks.items()]


def _stamps(items: Path) -> tuple[int, ...]:
    """Times of last change, so that rewritten items are read again."""
    for name in BENCHMARKS:
        if not (items / f"{name}.jsonl").exists():
            raise StudyError(f"{items / name}.jsonl: missing; run `dvc repro sets`")
    return tuple((items / f"{name}.jsonl").stat().st_mtime_ns for name in BENCHMARKS)


@lru_cache(maxsize=4)
def _tasks(items: Path, limit: int | None, stamps: tuple[int, ...]) -> dict[str, _BuiltOnce]:
    """The suite's lm-eval tasks; their requests are built once per process, items and limit."""
    return {name: _task(name, items) for name in BENCHMARKS}


def _task(name: str, items: Path) -> _BuiltOnce:
    """The task of TASKS/name.yaml over items/name.jsonl, held in memory: no cache of datasets is used or left."""
    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it would report even local files to a server
    config = load_yaml(TASKS / f"{name}.yaml")
    with tempfile.TemporaryDirectory() as cache:
        source = {"data_files": {"test": str(items / f"{name}.jsonl")}}
        config["dataset_kwargs"] = source | {"cache_dir": cache, "keep_in_memory": True}
        return _BuiltOnce(config=config)


def _row(task: _BuiltOnce, result: dict, limit: int | None) -> dict:
    """A result row; each task has one metric."""
    metric = task.config.metric_list[0]["metric"]
    stderr = result[f"{metric}_stderr,none"]
    return {
        "benchmark": task.task_name,
        "domain": task.config.metadata["domain"],
        "shots": task.config.num_fewshot,
        "metric": metric,
        "value": float(result[f"{metric},none"]),
        "stderr": NAN if stderr == "N/A" else float(stderr),
        "n": result["sample_len"],
        "chance": _chance(task, limit),
        "floor": NAN,
        "task_version": str(task.VERSION),
    }


def _chance(task: _BuiltOnce, limit: int | None) -> float:
    """Accuracy of guessing: the mean of one over the number of choices; 0 where the answer is a free text."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    shares = [1 / len(task.doc_to_choice(document)) for _, document in task.doc_iterator(limit=limit)]
    return sum(shares) / len(shares)


class Remembered:
    """The victim's answer logits on one list of samples, computed once as long as they take at most `room` bytes."""

    def __init__(self, victim, room: float = 3e8) -> None:
        self.victim, self.room, self.kept = victim, room, {}

    def logits(self, *inputs: Tensor) -> Tensor:
        """Float32 (answer tokens, vocab) of right-padded input_ids, mask and kept positions, see answer_logits."""
        key = tuple(inputs[0].flatten().tolist())
        if key in self.kept:
            return self.kept[key].float()
        logits = _logits(self.victim, *inputs)
        half = logits.bfloat16()  # under autocast that is what they were, so nothing is lost
        small = half if torch.equal(half.float(), logits) else logits
        if small.nbytes <= self.room:
            self.kept[key], self.room = small, self.room - small.nbytes
        return logits


def fidelity(replica, victim, tokenizer, samples: list[dict]) -> list[dict]:
    """How close a replica is to the victim (paper 3.1) on the answer tokens of {"input_ids", "answer_start"} samples.

    agreement: share of answer tokens where both models' most likely token is the same; kl: KL(victim || replica) in
    nats; cross_entropy: the replica's, on the samples' own tokens, in nats; perplexity: its exponential.
    Agreement pools all tokens (n tokens, standard error clustered by sample, since tokens of one answer are not
    independent). The others are means over a sample's tokens, then over samples, like DD (n samples).
    `victim` may be Remembered, where several replicas meet the same samples. Rows have run_benchmarks' keys.
    Raises StudyError when there is no sample or one without an answer token.
    """
    if not samples or any(not 0 < sample["answer_start"] < len(sample["input_ids"]) for sample in samples):
        raise StudyError("fidelity: needs samples, each with a prompt and an answer token; mend the evaluation set")
    scores = torch.zeros(len(samples), 4, dtype=torch.float64)  # per sample: tokens, agreeing, sum of KL, sum of CE
    batches = length_batches([len(sample["input_ids"]) for sample in samples], TOKEN_BUDGET)
    remembered = victim if isinstance(victim, Remembered) else Remembered(victim, room=0)
    with measuring(replica), measuring(remembered.victim):
        for batch in tqdm(batches, desc="fidelity", unit="batch", leave=False):
            scores[batch] = _compare(replica, remembered, tokenizer, [samples[index] for index in batch])
            machine.release_memory(machine.GROWTH)
    tokens, agreeing, kl, cross_entropy = scores.unbind(1)
    loss, loss_error = _mean(cross_entropy / tokens)
    perplexity = torch.tensor(loss, dtype=torch.float64).exp().item()  # infinite, not an error, for a diverged replica
    return [
        _fidelity_row("agreement", *_pooled(agreeing, tokens), int(tokens.sum())),
        _fidelity_row("kl", *_mean(kl / tokens), len(samples)),
        _fidelity_row("cross_entropy", loss, loss_error, len(samples)),
        _fidelity_row("perplexity", perplexity, perplexity * loss_error, len(samples)),
    ]


def _compare(replica, remembered: Remembered, tokenizer, samples: list[dict]) -> Tensor:
    """Per sample (samples, 4): answer tokens, agreeing ones, sum of KL, sum of the replica's cross-entropy."""
    input_ids, mask = pad([sample["input_ids"] for sample in samples], tokenizer.eos_token_id)  # (samples, tokens)
    starts = torch.tensor([sample["answer_start"] for sample in samples])[:, None]
    positions = torch.arange(input_ids.shape[1])
    keep = (positions >= starts - 1) & (positions < mask.sum(1, keepdim=True) - 1)  # they predict the answer tokens
    labels = input_ids[keep.roll(1, dims=1)].to(replica.device)  # (answer tokens,)
    sample_of = keep.nonzero()[:, 0]  # (answer tokens,)
    logits = _logits(replica, input_ids, mask, keep)  # (answer tokens, vocab)
    # The victim compared with itself needs no second forward.
    theirs = logits if replica is remembered.victim else remembered.logits(input_ids, mask, keep).to(logits.device)
    scores = torch.zeros(len(samples), 4, dtype=torch.float64)
    # In chunks: softmaxes over a large vocabulary take more memory than the forward.
    chunks = (tensor.split(128) for tensor in (logits, theirs, labels, sample_of))
    for own, other, label, owner in zip(*chunks, strict=True):
        own, other = own.log_softmax(1), other.log_softmax(1)  # (128, vocab)
        agree = own.argmax(1) == other.argmax(1)
        kl = (other.exp() * (other - own)).sum(1)
        loss = -own.gather(1, label[:, None])[:, 0]
        columns = torch.stack([torch.ones_like(loss), agree, kl, loss], dim=1).double().cpu()
        scores.index_add_(0, owner, columns)
    return scores


def _logits(model, *tensors: Tensor) -> Tensor:
    return answer_logits(model, *(tensor.to(model.device) for tensor in tensors))


def _mean(values: Tensor) -> tuple[float, float]:
    """Mean and its standard error (nan for a single value) over (samples,)."""
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else NAN


def _pooled(counts: Tensor, tokens: Tensor) -> tuple[float, float]:
    """Share counts.sum() / tokens.sum() and its standard error with samples as clusters (linearised ratio)."""
    share, samples = (counts.sum() / tokens.sum()).item(), len(tokens)
    if samples == 1:
        return share, NAN
    residuals = counts - share * tokens  # (samples,)
    return share, (math.sqrt(samples / (samples - 1)) * residuals.norm() / tokens.sum()).item()


def _fidelity_row(metric: str, value: float, stderr: float, n: int) -> dict:
    score = {"metric": metric, "value": value, "stderr": stderr, "n": n, "chance": NAN, "floor": NAN}
    return {"benchmark": "evaluation", "domain": "fidelity", "shots": 0} | score | {"task_version": FIDELITY_VERSION}
