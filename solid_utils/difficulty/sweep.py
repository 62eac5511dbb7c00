"""Many secured models in one pass over the decoder layers, each piece of work done once.

A candidate is the victim with random weights in a secured set. Its state after layer i is determined by the weights
below: which embeddings, and for each layer the victim's or whose random ones. Candidates with the same history share
the state, and with it what the layers below wrote down for those above (model/handed.py). So all prefixes of a seed
share the random layers below, all sliding sets share the victim's layers below them, and only tails repeat. Layer by
layer is also the order in which a checkpoint larger than memory is read.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts
from solid_utils.deployment.secured import SecuredSet
from solid_utils.difficulty.weights import InMemory
from solid_utils.model import accelerator
from solid_utils.model.answers import Batch
from solid_utils.model.handed import Passed, notebooks, written
from solid_utils.model.layers import hidden
from solid_utils.model.structure import parameters_after_layers


@dataclass(frozen=True, eq=False)  # equal ones are one object, so that histories hash fast
class Fresh:
    """Which tensors of one place (a layer, or all outside the layers) are random, and from which stream."""

    seed: int
    names: tuple[str, ...]
    secret: tuple[str, ...]  # the whole secured set where the start depends on it, else empty


@dataclass(frozen=True)
class Candidate:
    """The victim with fresh weights in a secured set. None stands for the victim's own tensors."""

    outside: Fresh | None  # embeddings, final norm, head
    entry: Fresh | None  # the same if it changes what enters layer 0
    layers: tuple[Fresh | None, ...]

    def history(self, depth: int) -> tuple:
        """What the state that leaves layer depth - 1 depends on."""
        return (self.entry, *self.layers[:depth])


Measure = Callable[[nn.Module, Batch], np.ndarray]  # of a model whose last layer gives a candidate's state


class Sweep:
    """Candidates of one victim under one start."""

    def __init__(self, source: InMemory, start: str):
        self.source = source
        self.start = start
        self.depth = len(source.layers)
        self.distinct: dict[tuple, Fresh] = {}
        # In Gemma 4 E2B the donors' keys and values are 1,536 numbers a token, as many as a state has.
        self.hands_on = source.layers.hands_on()
        with source.layers.idle():  # it takes a real forward, and a streamed model's layers have no values
            self.after = parameters_after_layers(source.model)

    def candidate(self, secured: SecuredSet, seed: int) -> Candidate:
        """The candidate of a secured set and a seed."""
        prefix = f"{self.source.path}."
        places = {}
        for name in secured.names:
            place = int(name.removeprefix(prefix).split(".")[0]) if name.startswith(prefix) else -1
            places.setdefault(place, []).append(name)
        secret = secured.names if starts.depends_on_set(self.start) else ()
        keys = {place: (seed, tuple(names), secret) for place, names in places.items()}
        by_place = {place: self.distinct.setdefault(key, Fresh(*key)) for place, key in keys.items()}
        outside = by_place.get(-1)
        entry = outside if outside and not set(outside.names) <= self.after else None
        return Candidate(outside, entry, tuple(by_place.get(index) for index in range(self.depth)))

    def state_bytes(self, candidates: list[Candidate], tokens: int) -> int:
        """Hidden states of so many padded tokens that are held at once, at most, with what is written beside them."""
        model = self.source.model
        width = model.config.get_text_config().hidden_size * (1 + self.hands_on)
        return tokens * width * model.dtype.itemsize * live_states(candidates)

    def groups(self, candidates: list[Candidate], sizes: list[int], memory: float) -> list[list[int]]:
        """Numbers of the batches that go through the layers together, holding `memory` bytes of hidden states at most.

        `sizes` are the batches' padded tokens. Raises StudyError when the memory holds not even one.
        """
        groups = []
        room = 0
        for number, tokens in enumerate(sizes):
            needed = self.state_bytes(candidates, tokens)
            if needed > memory:
                raise StudyError(
                    f"difficulty: {len(candidates)} candidates need {needed / 1e9:.1f} GB for one batch of "
                    f"states, {memory / 1e9:.1f} GB allowed; allow more, or score fewer sets at once"
                )
            if needed > room:
                groups.append([])
                room = memory
            groups[-1].append(number)
            room -= needed
        return groups

    def tensors(self, fresh: Fresh | None) -> dict[str, Tensor]:
        """The random tensors of one place, in the model's dtype; only one at a time is held in float32."""
        return {name: self.tensor(fresh, name) for name in fresh.names} if fresh else {}

    def tensor(self, fresh: Fresh, name: str) -> Tensor:
        source = self.source
        secret = fresh.secret or fresh.names
        drawn = starts.draw(source.model, [name], self.start, fresh.seed, secret, source.read)
        return drawn[name].to(source.parameters[name].dtype)

    @torch.inference_mode()
    def run(
        self, candidates: list[Candidate], group: list[Batch], measure: Measure, progress: str
    ) -> Iterator[tuple[Candidate, Batch, np.ndarray]]:
        """Yield what `measure` says of every candidate on every batch of the group. No `progress`, no bar."""
        candidates = list(dict.fromkeys(candidates))
        work = sum(len(nodes(candidates, depth)) for depth in range(1, self.depth + 1)) + len(candidates)
        with tqdm(total=work * len(group), desc=progress, mininterval=5, disable=not progress) as bar:
            states, calls = self.enter(candidates, group)
            for index in range(self.depth):
                states = self.step(index, nodes(candidates, index + 1), states, calls, bar)
                if self.source.streamed:  # a layer's buffers go back before the next comes
                    accelerator.release_memory(1)
            for outside, some in grouped(candidates, lambda candidate: candidate.outside).items():
                frame = self.source.frame(self.tensors(outside))
                for candidate in some:
                    for batch, state in zip(group, states[candidate.history(self.depth)], strict=True):
                        with self.source.layers.leaving(state.hidden):
                            yield candidate, batch, measure(frame, batch)
                        bar.update()
                del frame  # before the next one is drawn

    def enter(self, candidates: list[Candidate], group: list[Batch]) -> tuple[dict, dict]:
        """States that enter layer 0, and the layers' other arguments, by entry and batch."""
        states = {}
        calls = {}
        for (entry,) in nodes(candidates, 0):
            outside = next(candidate.outside for candidate in candidates if candidate.entry == entry) if entry else None
            frame = self.source.frame(self.tensors(outside))
            entered = [self.source.layers.calls(frame, batch.input_ids, batch.attention_mask) for batch in group]
            states[(entry,)] = [Passed(state, notebooks(arguments)) for state, arguments in entered]
            calls[entry] = [arguments for _, arguments in entered]
            del frame
        return states, calls

    def step(self, index: int, children: list[tuple], states: dict, calls: dict, bar: tqdm) -> dict:
        """States that leave layer `index`, from those that enter it. A state is dropped after its last use."""
        uses = Counter(child[:-1] for child in children)
        leaving = {}
        for fresh, some in grouped(children, lambda child: child[-1]).items():
            layer = self.source.variant(index, self.tensors(fresh)) if fresh else self.source.layer(index)
            for child in some:
                parent = child[:-1]
                arguments = calls[child[0]]
                uses[parent] -= 1
                entering = states[parent] if uses[parent] else states.pop(parent)
                leaving[child] = []
                for number in range(len(entering)):
                    notes, (args, kwargs) = written(entering[number].notes, arguments[number][index])
                    output = layer(entering[number].hidden, *args, **kwargs)
                    leaving[child].append(Passed(hidden(output), notes))
                    if not uses[parent]:
                        entering[number] = None
                    bar.update()
            del layer
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
