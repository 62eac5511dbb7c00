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
from torch import Tensor
from tqdm import tqdm

from solid_utils import starts
from solid_utils.answers import Batch, sample_losses
from solid_utils.errors import StudyError
from solid_utils.layers import hidden
from solid_utils.secured import SecuredSet, parameters_after_layers
from solid_utils.weights import InMemory


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
                    f"difficulty: {len(candidates)} candidates need {bytes_needed / 1e9:.1f} GB for one batch of "
                    f"states, {self.memory / 1e9:.1f} GB allowed; allow more, or score fewer sets at once"
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
