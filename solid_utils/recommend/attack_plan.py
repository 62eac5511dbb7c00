"""What a measured attack will cost, counted from the shapes alone, as plan.py counts the search.

- States: of the held-out texts the victim's, and a random and a mapped one a prefix, with what entered; of the asked
  texts what entered and what leaves the layer at hand.
- The fit: normal equations of one prefix at a time (map_search.peak), beside the states.
- Passes: groups of held-out batches that fit what is left; a streamed checkpoint is read once for each.
"""

from dataclasses import dataclass

from solid_utils.attacks import map_search
from solid_utils.core.errors import StudyError
from solid_utils.difficulty.sweep import nodes
from solid_utils.model import ridge_map
from solid_utils.model.answers import padded_sizes
from solid_utils.recommend.plan import Planner, Rates, amount, duration


@dataclass(frozen=True)
class AttackPlan:
    """The cost of attacking some prefixes."""

    prefixes: tuple[int, ...]
    queries: int
    asked: int  # padded tokens of the texts that are asked
    samples: int
    tokens: int  # padded tokens of the held-out texts, of each process
    streamed: bool
    groups: tuple[tuple[int, ...], ...]  # numbers of the held-out batches that go through the layers together
    bytes_read: int
    pass_bytes: int
    flops: int  # of forwards; attention scores are left out
    fit_flops: int  # of the fits, float64
    drawn: int  # random numbers
    weights: int  # bytes of all that is neither a state nor the fit's
    fit: int  # bytes of the fit at most
    states: int  # bytes of hidden states at most
    memory: float
    rates: Rates | None = None
    exact: float | None = None  # FLOP/s of products in float64

    @property
    def peak(self) -> int:
        """Bytes at most: the fit comes between two layers, so it adds to the states."""
        return self.weights + self.states + self.fit

    @property
    def times(self) -> dict[str, float]:
        """Seconds by what they are spent on, one after the other."""
        return {
            "multiplying": self.flops / self.rates.multiply,
            "fitting": self.fit_flops / self.exact,
            "drawing": self.drawn / self.rates.draw,
            "reading": self.bytes_read / self.rates.read if self.streamed else 0.0,
        }

    @property
    def seconds(self) -> float:
        return sum(self.times.values())

    def __str__(self) -> str:
        sets = ", ".join(f"bottom {one}" for one in self.prefixes)
        reading = f", {amount(self.bytes_read)}B read from disk" if self.streamed else " over weights in memory"
        plain = len(self.prefixes) * 4  # each prefix: texts asked, victim, random start, map
        lines = [
            f"attack: a linear map for {sets}; {self.queries} texts asked ({self.asked:,} padded tokens), "
            f"{self.samples} held out ({self.tokens:,})",
            f"  passes  {len(self.groups)}{reading}; a plain loop would make {plain}",
            f"  memory  {amount(self.peak)}B of {amount(self.memory)}B: {amount(self.weights)}B weights and work, "
            f"{amount(self.states)}B hidden states, {amount(self.fit)}B normal equations",
            f"  work    {amount(self.flops)}FLOP, {amount(self.fit_flops)}FLOP in float64, "
            f"{amount(self.drawn)} random numbers",
        ]
        if self.rates:
            parts = ", ".join(f"{duration(seconds)} {what}" for what, seconds in self.times.items() if seconds)
            lines.append(f"  time    at least {duration(self.seconds)} ({parts})")
        return "\n".join(lines)


class AttackPlanner:
    """Plans for one model (that of `search`), its held-out samples, and the token counts of the texts to be asked."""

    def __init__(self, search: Planner, asked: list[int], previous: int, seed: int, exact: float | None = None):
        self.search, self.asked, self.previous, self.seed, self.exact = search, asked, previous, seed, exact
        self.width = search.model.config.get_text_config().hidden_size

    def plan(self, prefixes: list[int]) -> AttackPlan:
        """The plan for these prefixes. Raises StudyError where the memory does not hold it with one batch at a time."""
        search, sweep, source = self.search, self.search.sweep, self.search.source
        victim = sweep.candidate(source.secured("none"), self.seed)
        random = [sweep.candidate(source.secured(f"bottom {prefix}"), self.seed) for prefix in prefixes]
        candidates = [victim, *random]
        sizes, padded = padded_sizes(self.asked), sum(padded_sizes(self.asked))
        weights, fit = search.weights_bytes(candidates), self.fit_bytes(max(sizes), len(prefixes))
        fixed = 2 * padded * self.state_bytes  # what entered, and what leaves
        groups = self.groups(search.memory - weights - fit - fixed, len(prefixes))

        in_use = [
            len(nodes(candidates, index + 1)) + sum(one <= index for one in prefixes) for index in range(sweep.depth)
        ]
        layers = list(zip(in_use, search.multiplied, strict=True))
        forward = sum(count * scalars for count, scalars in layers) * sum(search.sizes)
        forward += sum(scalars for _, scalars in layers[: max(prefixes)]) * padded
        head = search.model.get_output_embeddings().weight.numel() * (1 + 2 * len(prefixes)) * search.answers
        mapped = ridge_map.sizes(self.width, self.previous)[-1] * self.width * len(prefixes) * sum(search.sizes)
        return AttackPlan(
            prefixes=tuple(prefixes),
            queries=len(self.asked),
            asked=padded,
            samples=search.samples,
            tokens=sum(search.sizes),
            streamed=search.streamed,
            groups=groups,
            bytes_read=len(groups) * search.public_scalars(candidates) * search.stored if search.streamed else 0,
            pass_bytes=sum(map(search.count, search.layers)) * search.stored,
            flops=2 * (forward + head + mapped),
            fit_flops=len(prefixes) * map_search.flops(sum(self.asked), self.apart, self.width, self.previous),
            drawn=len(groups) * search.drawn_scalars(candidates),
            weights=weights,
            fit=fit,
            states=fixed + max(self.held_bytes(group, len(prefixes)) for group in groups),
            memory=search.memory,
            rates=search.rates,
            exact=self.exact,
        )

    @property
    def state_bytes(self) -> int:
        """Of one token's state."""
        return self.width * (1 + self.search.sweep.hands_on) * self.search.itemsize

    @property
    def apart(self) -> int:
        """Tokens of the asked texts that choose among penalties."""
        return sum(self.asked[:: ridge_map.HELD_OUT])

    def fit_bytes(self, batch: int, prefixes: int) -> int:
        """Of one fit, and of all maps that are kept, float32."""
        kept = 4 * ridge_map.sizes(self.width, self.previous)[-1] * self.width * prefixes
        return map_search.peak(batch, self.apart, self.width, self.previous) + kept

    def held_bytes(self, group: tuple[int, ...] | list[int], prefixes: int) -> int:
        """Hidden states of a group of held-out batches: the victim's, two a prefix, what entered, one on its way."""
        return sum(self.search.sizes[number] for number in group) * (3 + 2 * prefixes) * self.state_bytes

    def groups(self, room: float, prefixes: int) -> tuple[tuple[int, ...], ...]:
        """Batches that go together, in as few groups as fit `room`."""
        groups: list[list[int]] = [[]]
        for number in range(len(self.search.sizes)):
            if groups[-1] and self.held_bytes([*groups[-1], number], prefixes) > room:
                groups.append([])
            groups[-1].append(number)
        if (lacking := max(self.held_bytes(group, prefixes) for group in groups) - room) > 0:
            raise StudyError(
                f"memory: {amount(self.search.memory)}B allowed, the attack on {prefixes} prefixes needs "
                f"{amount(self.search.memory + lacking)}B; allow more, take shorter texts (--length), or --no-attack"
            )
        return tuple(map(tuple, groups))
