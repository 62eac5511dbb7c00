"""Scores of secured sets from at most 100 texts, without any training or query: what may forecast an attack's end.

Each is a file of this room. Larger is harder to steal for residual, centred_residual, map_kl, curvature and
effective_rank; smaller is harder for nonlinearity (what training may gain) and lookup (what a table gets): so it was
declared, and lookup came out the other way (docs/scale.md). Those that put a linear map in place of the set must not
be judged by what that map, as an attack, comes to.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View, view
from solid_utils.difficulty import residual
from solid_utils.difficulty.both_sides import BothSides, record
from solid_utils.difficulty.curvature import FORWARD, curvature
from solid_utils.difficulty.effective_rank import effective_rank
from solid_utils.difficulty.lookup import lookup
from solid_utils.difficulty.map_kl import map_kl
from solid_utils.difficulty.nonlinearity import nonlinearity
from solid_utils.difficulty.score_cost import Shapes, flops
from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.structure import layer_parameters, parameters_after_layers

NAMES = ("residual", "centred_residual", "map_kl", "curvature", "nonlinearity", "effective_rank", "lookup")
# Fixed before the first run; configs/hypotheses_scores.yaml says so too.
TEXTS = 100
LENGTH = 64  # tokens of a text
EVERY = 10  # every tenth text is held out: 10 of 100
PREVIOUS = 1  # earlier tokens that a map may look at; with 6,000 tokens the inputs of two are too many
SEED = 42  # draws the texts


@dataclass
class Scored:
    """The scores of one set, what each costs alone, and what it took here."""

    values: dict[str, float] = field(default_factory=dict)  # by name
    flops: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # on this machine; no result file holds them
    way: str = FORWARD  # of the curvature's products


class Scores:
    """Scores of several secured sets of one victim; the states of its texts are computed once for all of them."""

    def __init__(self, victim: PreTrainedModel, samples: list[dict], pad_id: int, sets: Iterable[SecuredSet]):
        """`samples`: texts, {"input_ids"}; every tenth is held out. Raises StudyError for a set that has no score."""
        self.layers = DecoderLayers(victim)
        if self.layers.hands_on():
            raise StudyError(
                f"scores: layers of {type(victim).__name__} hand on more than their state, so states alone do not say "
                "what leaves a part; score another model"
            )
        ids, mask = pad([sample["input_ids"] for sample in samples], pad_id)
        self.ids = ids.to(self.layers.device)
        self.mask = mask.to(self.layers.device)
        self.held_out = torch.arange(len(samples), device=self.layers.device) % EVERY == 0
        self.views = {one.declaration: whole(victim, one) for one in sets}
        self.depth = len(self.layers)
        self.sizes = layer_sizes(victim)
        self.after = sum(victim.get_parameter(name).numel() for name in parameters_after_layers(victim))
        self.head = victim.get_output_embeddings().weight.numel()  # tied or not, a token goes through it
        places = {place for seen in self.views.values() for place in (seen.first - 1, seen.last)}
        began = time.perf_counter()
        self.states = record(self.layers, self.ids, self.mask, places | {self.depth - 1})
        self.recording = time.perf_counter() - began

    def both_sides(self, seen: View) -> BothSides:
        return BothSides(self.ids, self.mask, self.states[seen.first - 1], self.states[seen.last], self.held_out)

    def of(self, declaration: str) -> Scored:
        """All scores of one of the sets, by name; one that is not defined (nan) is left out."""
        seen = self.views[declaration]
        states = self.both_sides(seen)
        scored = Scored()
        took: dict[str, float] = {}
        with timed(took, "fit"):
            weights = residual.fit(states, PREVIOUS)
            guess = residual.guessed(states, weights)
        final = self.states[self.depth - 1]

        def curved() -> float:
            value, scored.way = curvature(self.layers, states, guess, seen.last)
            return value

        computed = {
            "residual": lambda: residual.residual(states, guess),
            "centred_residual": lambda: residual.centred_residual(states, guess),
            "map_kl": lambda: map_kl(self.layers, states, guess, seen.last, final),
            "curvature": curved,
            "nonlinearity": lambda: nonlinearity(states, PREVIOUS),
            "effective_rank": lambda: effective_rank(states),
            "lookup": lambda: lookup(states),
        }
        for name in NAMES:
            with timed(took, name):
                scored.values[name] = computed[name]()
        scored.values = {name: value for name, value in scored.values.items() if value == value}
        scored.flops = flops(self.shapes(seen, states), 2 if scored.way == FORWARD else 3)
        # What a score takes alone: its share of the states, the fit where it has one, its own part.
        share = self.recording * sum(self.sizes[: seen.last + 1]) / sum(self.sizes)
        mapless = ("nonlinearity", "effective_rank", "lookup")
        scored.seconds = {name: share + (0 if name in mapless else took["fit"]) + took[name] for name in NAMES}
        held_out = float(self.held_out.float().mean())
        scored.seconds["map_kl"] += held_out * (self.recording - share)  # the victim's own way to its logits
        return scored

    def shapes(self, seen: View, states: BothSides) -> Shapes:
        """What the costs are counted from."""
        fitted = int(self.mask[states.fitted].sum())
        return Shapes(
            fitted=fitted,
            held_out=int(self.mask.sum()) - fitted,
            width=states.leaving.shape[2],
            below=sum(self.sizes[: seen.last + 1]),
            above=sum(self.sizes[seen.last + 1 :]) + max(self.after, self.head),
            previous=PREVIOUS,
        )

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return int(self.mask.sum())


def layer_sizes(victim: PreTrainedModel) -> list[int]:
    """Parameters of each decoder layer."""
    return [sum(victim.get_parameter(name).numel() for name in names) for names in layer_parameters(victim)]


def whole(victim: PreTrainedModel, secured: SecuredSet) -> View:
    """Where a set begins and ends. Raises StudyError unless it is one part of decoder layers that states leave."""
    seen = view(victim, secured)
    if not seen.consecutive or seen.stages[0] < 0 or seen.last >= seen.depth:
        raise StudyError(
            f"scores: '{secured.declaration}' is not one row of decoder layers, so no state enters and leaves it; "
            "score layers only, such as layers 0-3"
        )
    return seen


@contextmanager
def timed(took: dict[str, float], name: str) -> Iterator[None]:
    """Seconds of what is inside, under its name."""
    began = time.perf_counter()
    yield
    took[name] = time.perf_counter() - began


def rows(scored: Scored, texts: int, tokens: int) -> list[dict]:
    """The scores as columns of schema.SET_SCORES, without the set's own."""
    made = []
    for name, value in scored.values.items():
        way = scored.way if name == "curvature" else "none"
        cost = {"texts": texts, "tokens": tokens, "flops": scored.flops[name]}
        made.append({"score": name, "value": value} | cost | {"way": way})
    return made
