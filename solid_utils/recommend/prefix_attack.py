"""Linear maps in place of several prefixes of one model, fitted and scored in one sweep over its layers.

Layer by layer go, side by side: the texts that are asked, through the victim's own layers, up to the deepest prefix;
the held-out texts through the victim, through the model with each prefix random (what a thief has before he asks), and,
from a prefix's end on, with that prefix's map in its place. So a map is fitted when the states that leave its prefix
are there, a weight is read once for all, and no state is computed twice.
"""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from solid_utils.attacks import map_search
from solid_utils.attacks.map_search import Fitted, Seen
from solid_utils.core.errors import StudyError
from solid_utils.difficulty.sweep import Candidate, Sweep, nodes
from solid_utils.difficulty.weights import InMemory
from solid_utils.evaluation.fidelity import compared
from solid_utils.model import accelerator, ridge_map
from solid_utils.model.answers import Batch
from solid_utils.model.forward import answer_logits
from solid_utils.model.handed import Passed

LOGIT_ROWS = 256  # positions whose float32 logits are held at once, of victim and replica
ASKED = "asked"  # stands where a history says what entered: these texts are others


Maps = dict[int, Fitted | None]  # by prefix; None where its layers hand on more than their state


@dataclass(frozen=True)
class Mapped:
    """Stands in a history for each layer that a prefix's map replaces."""

    prefix: int


@dataclass
class TextScores:
    """Of each held-out text its answer tokens, and where the thief's model meets the victim's on them."""

    tokens: list[int]
    agreeing: list[int]
    kl: list[float]  # nats, summed over tokens

    def plus(self, other: "TextScores") -> "TextScores":
        """Of texts that either has scored."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return TextScores(*([a + b for a, b in zip(*pair, strict=True)] for pair in pairs))


@dataclass
class Measured:
    """What came out, by prefix; no map where the secured layers hand on more than their state."""

    start: dict[int, TextScores] = field(default_factory=dict)  # before any query: the prefix random
    attack: dict[int, TextScores] = field(default_factory=dict)  # the map in its place
    chosen: dict[int, tuple[float, int]] = field(default_factory=dict)  # penalty, previous tokens
    likeliest: list[list[int]] = field(default_factory=list)  # the victim's tokens at each text's answer
    floor: dict[str, list[int]] = field(default_factory=dict)  # on how many of them counts over public text agree


class PrefixAttack:
    """The attack on one victim, in memory or streamed from disk; `seed` draws the random layers of `start`."""

    def __init__(self, source: InMemory, start: str, seed: int, previous: int):
        self.source, self.sweep, self.previous, self.seed = source, Sweep(source, start), previous, seed
        self.victim = self.sweep.candidate(source.secured("none"), seed)

    def random(self, prefix: int) -> Candidate:
        """The victim with its bottom layers drawn anew."""
        return self.sweep.candidate(self.source.secured(f"bottom {prefix}"), self.seed)

    @torch.inference_mode()
    def run(
        self, prefixes: list[int], asked: list[Batch], groups: list[list[Batch]], texts: int, progress: str = "attack"
    ) -> Measured:
        """Fit and score. `groups` of held-out batches go through the layers together; the first one with the maps' fit.

        `texts`: how many held-out texts there are in all, also of other processes.
        """
        found = Measured(likeliest=[[] for _ in range(texts)])
        for kept in (found.start, found.attack):
            kept.update({one: TextScores([0] * texts, [0] * texts, [0.0] * texts) for one in prefixes})
        maps: Maps = {}
        for number, group in enumerate(groups):
            states = self.through(prefixes, [] if number else asked, group, maps, progress)
            self.score(states, prefixes, group, found)
        for prefix, made in maps.items():
            if made is None:
                del found.attack[prefix]
            else:
                found.chosen[prefix] = (made.ridge, made.previous)
        return found

    def through(
        self, prefixes: list[int], asked: list[Batch], group: list[Batch], maps: Maps, progress: str
    ) -> dict[tuple, list[Passed]]:
        """States that leave the last layer, by history; maps that are not there yet are fitted on the way."""
        candidates = list(dict.fromkeys([self.victim, *map(self.random, prefixes)]))
        states, calls = self.sweep.enter([self.victim], group)
        entered = list(states[self.victim.history(0)])
        queries, deepest = [], max(prefixes) if asked else 0
        if asked:
            more, arguments = self.sweep.enter([self.victim], asked)
            (queries,), (calls[ASKED],) = more.values(), arguments.values()
            states[asked_history(0)] = list(queries)
        with tqdm(desc=progress, unit="call", mininterval=5, disable=not progress) as bar:
            for index in range(self.sweep.depth):
                through = nodes(candidates, index + 1)
                through += [mapped_history(one, index + 1) for one in prefixes if one <= index and maps[one]]
                through += [asked_history(index + 1)] if index < deepest else []
                states = self.sweep.step(index, through, states, calls, bar)
                if (prefix := index + 1) in prefixes:
                    leaving = states.get(asked_history(prefix), [])
                    if prefix not in maps:
                        maps[prefix] = self.fitted(queries, leaving, asked)
                    if made := maps[prefix]:
                        states[mapped_history(prefix, prefix)] = replaced(made, entered, group)
                if prefix == deepest:
                    del states[asked_history(prefix)], leaving
                    queries.clear()
                if self.source.streamed:  # a layer's buffers go back before the next comes
                    accelerator.release_memory(1)
        return states

    def fitted(self, entering: list[Passed], leaving: list[Passed], asked: list[Batch]) -> Fitted | None:
        """The map of a prefix; none where its layers wrote something down that those above read."""
        if any(
            len(after.notes[key]) > len(note)
            for one, after in zip(entering, leaving, strict=True)
            for key, note in one.notes.items()
        ):
            return None
        texts = []
        for one, after, batch in zip(entering, leaving, asked, strict=True):
            apart = torch.tensor(
                [index % ridge_map.HELD_OUT == 0 for index in batch.indices], device=self.source.device
            )
            texts.append(Seen(one.hidden, after.hidden, batch.attention_mask, apart))
        return map_search.fit(texts, self.previous)

    def score(
        self, states: dict[tuple, list[Passed]], prefixes: list[int], group: list[Batch], found: Measured
    ) -> None:
        """Compare what the victim and every other model say at the answers of a group of held-out texts."""
        depth = self.sweep.depth
        kinds = [(found.start[one], self.random(one).history(depth)) for one in prefixes]
        kinds += [(found.attack[one], mapped_history(one, depth)) for one in prefixes]
        kinds = [(kept, states[history]) for kept, history in kinds if history in states]
        for number, batch in enumerate(group):
            for keep in pieces(batch.keep):
                theirs = self.said(states[self.victim.history(depth)][number], batch, keep)
                owners = [batch.indices[row] for row in keep.nonzero()[:, 0].tolist()]
                for owner, token in zip(owners, theirs.argmax(1).tolist(), strict=True):
                    found.likeliest[owner].append(token)
                for kept, own in kinds:
                    agree, kl = compared(self.said(own[number], batch, keep), theirs)
                    if not kl.isfinite().all():
                        raise StudyError(
                            "attack: logits on a held-out text are not finite; the weights are broken, or too large "
                            "for this dtype: take --dtype float32, or --no-attack"
                        )
                    for owner, hit, apart in zip(owners, agree.tolist(), kl.tolist(), strict=True):
                        kept.tokens[owner] += 1
                        kept.agreeing[owner] += hit
                        kept.kl[owner] += apart

    def said(self, state: Passed, batch: Batch, keep: Tensor) -> Tensor:
        """Float32 log-probabilities (tokens, vocab) at the kept positions where that state leaves the last layer."""
        with self.source.layers.leaving(state.hidden):
            logits = answer_logits(self.source.model, batch.input_ids, batch.attention_mask, keep)
        return logits.log_softmax(1, dtype=torch.float32)


def replaced(made: Fitted, entered: list[Passed], group: list[Batch]) -> list[Passed]:
    """What a map makes of the states that enter the model, in place of a prefix."""
    pairs = zip(entered, group, strict=True)
    return [Passed(made(one.hidden, batch.attention_mask), one.notes) for one, batch in pairs]


def mapped_history(prefix: int, depth: int) -> tuple:
    """What the state that leaves layer depth - 1 depends on, where a map stands for the bottom layers."""
    return (None, *[Mapped(prefix)] * prefix, *[None] * (depth - prefix))


def asked_history(depth: int) -> tuple:
    return (ASKED, *[None] * depth)


def pieces(keep: Tensor) -> list[Tensor]:
    """A bool mask (batch, tokens) as several, of at most LOGIT_ROWS positions each."""
    places = keep.flatten().nonzero()[:, 0].split(LOGIT_ROWS)
    return [torch.zeros_like(keep).view(-1).index_fill(0, some, True).view_as(keep) for some in places]
