"""Answers of problems by one forward each: is every token the likeliest, how likely are they, which choice is."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from solid_utils.model.answers import Batch, batches
from solid_utils.model.forward import answer_logits


@dataclass(frozen=True)
class Answers:
    """By problem, (problems,) each: 1 where greedy decoding gives the answer and ends it; 1 where it gives the answer,
    whatever follows; the answer's nats a token; 1 where the choice with the likeliest first token is the right one, nan
    for a problem without choices."""

    exact: np.ndarray
    unended: np.ndarray
    nats: np.ndarray
    chosen: np.ndarray


@torch.inference_mode()
def answers(model: nn.Module, problems: list[dict], pad_id: int, end_id: int | None = None) -> Answers:
    """Samples {input_ids, answer_start} and, where they have choices, the first token of each ("choices").

    `end_id`: the token that ends an answer. An untouched model knows nothing of it, so a model that has only learned to
    end its answers gains in `exact` and not in `unended`.
    """
    exact, unended, nats, chosen = (np.full(len(problems), np.nan) for _ in range(4))
    for batch in batches(problems, pad_id, next(model.parameters()).device):
        hits, losses, firsts = by_token(model, batch)
        counts = np.bincount(batch.rows)
        exact[batch.indices] = np.bincount(batch.rows, weights=hits) == counts
        ends = (batch.targets == end_id).cpu().numpy() if end_id is not None else np.zeros(len(hits), bool)
        unended[batch.indices] = np.bincount(batch.rows, weights=np.maximum(hits, ends)) == counts
        nats[batch.indices] = np.bincount(batch.rows, weights=losses) / counts
        for index, logits in zip(batch.indices, firsts, strict=True):
            chosen[index] = right_choice(problems[index], logits)
    return Answers(exact.astype(float), unended.astype(float), nats, chosen)


def by_token(model: nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray, list[torch.Tensor]]:
    """Of each answer token: is it the likeliest, its loss in nats, (tokens,) each; first tokens' logits (vocab,)."""
    hits: list[torch.Tensor] = []
    losses: list[torch.Tensor] = []
    firsts: list[torch.Tensor] = []
    done = 0
    for keep in batch.keeps:
        logits = answer_logits(model, batch.input_ids, batch.attention_mask, keep).float()  # (some tokens, vocab)
        targets = batch.targets[done : done + len(logits)]
        hits.append((logits.argmax(-1) == targets).double())
        losses.append(torch.nn.functional.cross_entropy(logits, targets, reduction="none").double())
        places = range(done, done + len(logits))
        firsts += [logits[at - done].cpu() for at in places if at == 0 or batch.rows[at] != batch.rows[at - 1]]
        done += len(logits)
    return torch.cat(hits).cpu().numpy(), torch.cat(losses).cpu().numpy(), firsts


def right_choice(problem: dict, logits: torch.Tensor) -> float:
    """1 where the choice with the likeliest first token is the answer's, else 0; nan without choices."""
    if "choices" not in problem:
        return np.nan
    likeliest = problem["choices"][int(logits[problem["choices"]].argmax())]
    return float(likeliest == problem["input_ids"][problem["answer_start"]])
