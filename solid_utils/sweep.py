"""Many secured models in one pass over the decoder layers, each piece of work done once.

A candidate is the victim with random weights in a secured set. Its state after layer i is determined by the weights
below: which embeddings, and for each layer the victim's or whose random ones. Candidates with the same history share
the state. So all prefixes of a seed share the random layers below, all sliding sets share the victim's layers below
them, and only tails repeat. Layer by layer is also the order in which a checkpoint larger than memory is read.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from solid_utils import starts
from solid_utils.errors import StudyError
from solid_utils.forward import answer_logits, length_batches, pad
from solid_utils.layers import hidden
from solid_utils.secured import SecuredSet, parameters_after_layers
from solid_utils.weights import InMemory

TOKENS = 2048  # padded tokens a forward
LOGIT_ROWS = 1024  # answer positions whose float32 logits are held at once


class Batch:
    """A few samples of similar length, padded, with the positions that predict their answers."""

    def __init__(self, samples: list[dict], indices: list[int], pad_id: int, device: torch.device):
        self.indices = indices
        chosen = [samples[index] for index in indices]
        input_ids, attention_mask = pad([sample["input_ids"] for sample in chosen], pad_id)
        keep = torch.zeros_like(input_ids, dtype=torch.bool)
        for row, sample in enumerate(chosen):
            keep[row, sample["answer_start"] - 1 : len(sample["input_ids"]) - 1] = True
        self.targets = torch.roll(input_ids, -1, dims=1)[keep].to(device)  # (answer tokens,)
        self.rows = keep.nonzero()[:, 0].numpy()  # the sample of each answer token
        self.input_ids, self.attention_mask = input_ids.to(device), attention_mask.to(device)
        places = keep.flatten().nonzero()[:, 0].split(LOGIT_ROWS)
        self.keeps = [torch.zeros(keep.numel(), dtype=torch.bool).index_fill(0, some, True) for some in places]
        self.keeps = [some.view_as(keep).to(device) for some in self.keeps]  # `keep` in pieces of LOGIT_ROWS


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
        logits = answer_logits(frame, batch.input_ids, batch.attention_mask, keep)  # (some answer tokens, vocab)
        target = logits.gather(1, batch.targets[first : first + len(logits), None])[:, 0]
        first += len(logits)
        # logsumexp(s z) - s z_target, the scaled logits never stored for the usual scale 1
        columns = [torch.logsumexp(logits if s == 1 else logits * s, dim=1) - s * target for s in scales]
        tokens.append(torch.stack(columns, dim=1).cpu())
    losses = torch.cat(tokens).double().numpy()  # (answer tokens, scales)
    counts = np.bincount(batch.rows)
    return np.stack([np.bincount(batch.rows, weights=column) / counts for column in losses.T], axis=1)


@dataclass(frozen=True, eq=False)  # one object for each distinct draw, so that histories hash fast
class Draw:
    """Which tensors of one place (a layer, or all outside the layers) are random, and from which stream."""

    seed: int
    names: tuple[str, ...]
    secret: tuple[str, ...]  # the whole secured set where the start depends on it, else empty


@dataclass(frozen=True)
class Candidate:
    """The victim with fresh weights in a secured set. None stands for the victim's own tensors."""

    outside: Draw | None  # embeddings, final norm, head
    entry: Draw | None  # the same if it changes what enters layer 0
    layers: tuple[Draw | None, ...]

    def history(self, depth: int) -> tuple:
        """What the state that leaves layer depth - 1 depends on."""
        return (self.entry, *self.layers[:depth])


class Sweep:
    """All candidates over all samples, with at most about `memory` bytes of hidden states held at once."""

    def __init__(self, source: InMemory, start: str, memory: float):
        self.source, self.start, self.memory = source, start, memory
        self.depth, self.draws = len(source.layers), {}
        skipping = dict.fromkeys(range(self.depth), source.layers.skip)
        with source.layers.replaced(skipping):
            self.after = parameters_after_layers(source.model)

    def candidate(self, secured: SecuredSet, seed: int) -> Candidate:
        """The candidate of a secured set and a seed."""
        prefix, places = f"{self.source.path}.", {}
        for name in secured.names:
            place = int(name.removeprefix(prefix).split(".")[0]) if name.startswith(prefix) else -1
            places.setdefault(place, []).append(name)
        secret = secured.names if starts.depends_on_set(self.start) else ()
        keys = {place: (seed, tuple(names), secret) for place, names in places.items()}
        draws = {place: self.draws.setdefault(key, Draw(*key)) for place, key in keys.items()}
        outside = draws.get(-1)
        entry = outside if outside and not set(outside.names) <= self.after else None
        return Candidate(outside, entry, tuple(draws.get(index) for index in range(self.depth)))

    def groups(self, candidates: list[Candidate], batches: list[Batch]) -> list[list[Batch]]:
        """Batches that go through the layers together. Raises StudyError when the memory holds not even one."""
        width = self.source.model.get_input_embeddings().weight.shape[1]
        itemsize = max(self.source.model.dtype.itemsize, 4)
        groups, room = [], 0
        for batch in batches:
            bytes_needed = batch.input_ids.numel() * width * itemsize * live_states(candidates)
            if bytes_needed > self.memory:
                raise StudyError(
                    f"difficulty: {len(candidates)} candidates need {bytes_needed / 1e9:.1f} GB for one batch of states, "
                    f"{self.memory / 1e9:.1f} GB allowed; allow more, or score fewer sets at once"
                )
            if bytes_needed > room:
                groups.append([])
                room = self.memory
            groups[-1].append(batch)
            room -= bytes_needed
        return groups

    def tensors(self, draw: Draw | None) -> dict[str, Tensor]:
        """The random tensors of one place."""
        if draw is None:
            return {}
        return starts.draw(
            self.source.model, draw.names, self.start, draw.seed, draw.secret or draw.names, self.source.read
        )

    @torch.inference_mode()
    def run(
        self, candidates: list[Candidate], group: list[Batch], scales: tuple[float, ...], progress: str
    ) -> Iterator[tuple[Candidate, Batch, np.ndarray]]:
        """Yield every candidate's losses on every batch of the group, (samples, scales)."""
        candidates = list(dict.fromkeys(candidates))
        work = sum(len(nodes(candidates, depth)) for depth in range(1, self.depth + 1)) + len(candidates)
        with tqdm(total=work * len(group), desc=progress, mininterval=5) as bar:
            states, calls = self.enter(candidates, group)
            for index in range(self.depth):
                states = self.step(index, nodes(candidates, index + 1), states, calls, bar)
            for outside, some in grouped(candidates, lambda candidate: candidate.outside).items():
                frame = self.source.frame(self.tensors(outside))
                for candidate in some:
                    for batch, state in zip(group, states[candidate.history(self.depth)], strict=True):
                        with self.source.layers.leaving(state):
                            yield candidate, batch, sample_losses(frame, batch, scales)
                        bar.update()

    def enter(self, candidates: list[Candidate], group: list[Batch]) -> tuple[dict, dict]:
        """States that enter layer 0, and the layers' other arguments, by entry and batch."""
        states, calls = {}, {}
        for (entry,) in nodes(candidates, 0):
            outside = next(candidate.outside for candidate in candidates if candidate.entry == entry) if entry else None
            frame = self.source.frame(self.tensors(outside))
            entered = [self.source.layers.calls(frame, batch.input_ids, batch.attention_mask) for batch in group]
            states[(entry,)] = [state for state, _ in entered]
            calls[entry] = [arguments for _, arguments in entered]
        return states, calls

    def step(self, index: int, children: list[tuple], states: dict, calls: dict, bar: tqdm) -> dict:
        """States that leave layer `index`, from those that enter it. A state is dropped after its last use."""
        uses, leaving = Counter(child[:-1] for child in children), {}
        for draw, some in grouped(children, lambda child: child[-1]).items():
            layer = self.source.variant(index, self.tensors(draw)) if draw else self.source.layer(index)
            for child in some:
                parent, arguments = child[:-1], calls[child[0]]
                uses[parent] -= 1
                entering = states[parent] if uses[parent] else states.pop(parent)
                leaving[child] = []
                for number in range(len(entering)):
                    args, kwargs = arguments[number][index]
                    leaving[child].append(hidden(layer(entering[number], *args, **kwargs)))
                    if not uses[parent]:
                        entering[number] = None
                    bar.update()
        return leaving


def grouped(items: list, key) -> dict:
    """Items by key, in order of first appearance; the victim's own (None) first."""
    groups = {}
    for item in sorted(items, key=lambda item: key(item) is not None):
        groups.setdefault(key(item), []).append(item)
    return groups


def nodes(candidates: list[Candidate], depth: int) -> list[tuple]:
    """The distinct histories at a depth."""
    return list(dict.fromkeys(candidate.history(depth) for candidate in candidates))


def live_states(candidates: list[Candidate]) -> int:
    """How many states of a batch are held at once, at most: those of one depth and what branches off there."""
    depth = len(candidates[0].layers)
    most = 1
    for index in range(depth):
        children = nodes(candidates, index + 1)
        branching = sum(count > 1 for count in Counter(child[:-1] for child in children).values())
        most = max(most, len(children) + branching)
    return most
