"""Samples in batches, the loss on their answers, and what is most likely in their place."""

import numpy as np
import torch
from torch import Tensor, nn

from solid_utils.model.forward import answer_logits, answer_positions, length_batches, pad

TOKENS = 2048  # padded tokens a forward
LOGIT_ROWS = 1024  # answer positions whose logits are held at once
CACHED = 2**20  # logits that a CPU works on at once in float32: what leaves its caches takes twice the time


class Batch:
    """A few samples of similar length, padded, with the positions that predict their answers."""

    def __init__(self, samples: list[dict], indices: list[int], pad_id: int, device: torch.device):
        self.indices = indices
        chosen = [samples[index] for index in indices]
        input_ids, attention_mask = pad([sample["input_ids"] for sample in chosen], pad_id)
        keep = answer_positions(chosen, attention_mask)
        self.targets = torch.roll(input_ids, -1, dims=1)[keep].to(device)  # (answer tokens,)
        self.rows = keep.nonzero()[:, 0].numpy()  # the sample of each answer token
        self.input_ids, self.attention_mask = input_ids.to(device), attention_mask.to(device)
        places = keep.flatten().nonzero()[:, 0].split(LOGIT_ROWS)
        self.keep = keep.to(device)
        self.keeps = [torch.zeros(keep.numel(), dtype=torch.bool).index_fill(0, some, True) for some in places]
        self.keeps = [some.view_as(keep).to(device) for some in self.keeps]  # `keep` in pieces of LOGIT_ROWS


def padded_sizes(lengths: list[int]) -> list[int]:
    """Padded tokens of each batch of samples of these lengths."""
    return [lengths[group[0]] * len(group) for group in length_batches(lengths, TOKENS)]


def batches(samples: list[dict], pad_id: int, device: torch.device) -> list[Batch]:
    """All samples, bucketed by length."""
    groups = length_batches([len(sample["input_ids"]) for sample in samples], TOKENS)
    return [Batch(samples, group, pad_id, device) for group in groups]


def sample_losses(frame: nn.Module, batch: Batch, scales: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """Cross-entropy in nats with the logits multiplied by each scale: (samples, scales), float64.

    Mean over each sample's answer tokens. Scale 1 is the loss itself.
    """
    tokens, first = [], 0
    for keep in batch.keeps:
        logits = answer_logits(frame, batch.input_ids, batch.attention_mask, keep)  # (some tokens, vocab)
        targets = batch.targets[first : first + len(logits)]
        first += len(logits)
        rows = max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
        for some, labels in zip(logits.split(rows), targets.split(rows), strict=True):
            tokens.append(token_losses(some.float(), labels, scales).cpu())
    losses = torch.cat(tokens).double().numpy()  # (answer tokens, scales)
    counts = np.bincount(batch.rows)
    return np.stack([np.bincount(batch.rows, weights=column) / counts for column in losses.T], axis=1)


def token_losses(logits: Tensor, targets: Tensor, scales: tuple[float, ...]) -> Tensor:
    """(tokens, scales) of logits (tokens, vocab): logsumexp(s z) - s z_target."""
    target = logits.gather(1, targets[:, None])[:, 0]
    # The scaled logits are never stored for the usual scale 1.
    columns = [torch.logsumexp(logits if s == 1 else logits * s, dim=1) - s * target for s in scales]
    return torch.stack(columns, dim=1)


@torch.inference_mode()
def most_likely(model: nn.Module, samples: list[dict], pad_id: int) -> list[np.ndarray]:
    """The most likely token at each answer position of each sample: [(answer tokens,), ...].

    The answer is teacher-forced: greedy decoding follows it just as long as its every token is the most likely one, so
    one forward says what a generation token by token would.
    """
    likeliest = [np.empty(0)] * len(samples)
    for batch in batches(samples, pad_id, next(model.parameters()).device):
        logits = answer_logits(model, batch.input_ids, batch.attention_mask, batch.keep)
        tokens = logits.argmax(-1).cpu().numpy()  # (answer tokens,)
        for row, index in enumerate(batch.indices):
            likeliest[index] = tokens[batch.rows == row]
    return likeliest
