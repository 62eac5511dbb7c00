"""What scoring a set of candidates will cost, counted from the shapes alone, before a weight is read.

- States: hidden states held at once (sweep.live_states) x padded tokens of one group of batches.
- Weights: what lies outside the layers; one public and one random layer, or a random copy of what lies outside.
- Passes: groups of batches that fit the memory; a streamed checkpoint is read once for each.
- Work: 2 FLOPs for every weight that multiplies and token; shared states once; logits at answer tokens only.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig

from solid_utils.core import machine
from solid_utils.core.errors import StudyError
from solid_utils.deployment.cost import active, multiplied
from solid_utils.deployment.secured import build
from solid_utils.difficulty.guard import worked
from solid_utils.difficulty.sweep import Candidate, Sweep, nodes
from solid_utils.difficulty.weights import InMemory
from solid_utils.model import accelerator
from solid_utils.model.answers import LOGIT_ROWS, padded_sizes
from solid_utils.model.structure import layer_parameters

LLAMA2_70B = LlamaConfig(  # the paper's largest model, to plan for
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
    vocab_size=32000,
)
PROGRAM = 0.5e9  # bytes of the interpreter and its libraries, before any tensor
AT_ONCE = 4  # prefixes of a streamed search scored together at most: reading costs more than a prefix too many


@dataclass(frozen=True)
class Rates:
    """How fast a machine is."""

    multiply: float  # FLOP/s of matrix products
    draw: float  # random numbers a second
    read: float  # bytes a second from the disk


def measured_rates(dtype: torch.dtype, device: torch.device, checkpoint: Path) -> Rates:
    """This machine's, within a few seconds."""
    return Rates(accelerator.matmul_rate(dtype, device), accelerator.draw_rate(), machine.read_rate(checkpoint))


@dataclass(frozen=True)
class SearchPlan:
    """The cost of scoring some secured sets and seeds."""

    plain_passes: int  # sets x seeds: a plain loop reads the weights once for each
    models: int  # distinct ones among them
    samples: int
    processes: int  # that share the samples; what follows is of each
    tokens: int  # padded
    streamed: bool
    passes: int  # sweeps over the layers
    pass_bytes: int  # of all decoder layers
    bytes_read: int  # random layers are not read; a start that looks at open layers reads more
    calls: int  # of a layer on a batch
    flops: int  # attention scores are left out
    drawn: int  # random numbers
    weights: int  # bytes of all that is no hidden state
    states: int  # bytes of hidden states
    room: float  # bytes that the memory leaves for them
    guard: int  # bytes that the guard holds before the first of them is there
    guard_read: int  # bytes that it reads from disk
    memory: float
    rates: Rates | None = None

    @property
    def peak(self) -> int:
        return max(self.weights + self.states, self.guard)

    @property
    def times(self) -> dict[str, float]:
        """Seconds by what they are spent on, one after the other."""
        return {
            "multiplying": self.flops / self.rates.multiply,
            "drawing": self.drawn / self.rates.draw,
            "reading": (self.bytes_read + self.guard_read) / self.rates.read if self.streamed else 0.0,
        }

    @property
    def seconds(self) -> float:
        return sum(self.times.values())

    def __str__(self) -> str:
        reading = f", {amount(self.bytes_read)}B read from disk" if self.streamed else " over weights in memory"
        shared = f" in each of {self.processes} processes" if self.processes > 1 else ""
        apart = f" ({amount(self.plain_passes * self.pass_bytes)}B)" if self.streamed else ""
        lines = [
            f"plan: {self.models} models over {self.samples} samples ({self.tokens:,} padded tokens{shared})",
            f"  passes  {self.passes}{reading}; one for every set and seed would be {self.plain_passes}{apart}",
            f"  memory  {amount(self.peak)}B of {amount(self.memory)}B: {amount(self.weights)}B weights and work, "
            f"{amount(self.states)}B hidden states ({amount(self.room)}B free for them)",
            f"  guard   first two texts are compared with plain Transformers: {amount(self.guard)}B in memory"
            + (f", {amount(self.guard_read)}B read besides" if self.streamed else ""),
            f"  work    {amount(self.flops)}FLOP (attention scores left out), {amount(self.drawn)} random numbers",
        ]
        if self.rates:
            parts = ", ".join(f"{duration(seconds)} {what}" for what, seconds in self.times.items() if seconds)
            rates = f"{amount(self.rates.multiply)}FLOP/s, {amount(self.rates.draw)} numbers/s"
            rates += f", {amount(self.rates.read)}B/s" if self.streamed else ""
            lines.append(f"  time    at least {duration(self.seconds)} ({parts}) at {rates}")
        return "\n".join(lines)


class Planner:
    """Plans for one model, one list of samples, one start, and `memory` bytes for everything.

    `source` needs no values: a weights.Skeleton will do. `streamed` says how the run will hold the weights; `stored` is
    the dtype in the file, if it is another.
    """

    def __init__(
        self,
        source: InMemory,
        samples: list[dict],
        start: str,
        memory: float,
        streamed: bool,
        rates: Rates | None = None,
        stored: torch.dtype | None = None,
    ):
        self.sweep, self.model, self.memory, self.streamed = Sweep(source, start), source.model, memory, streamed
        self.source, self.rates, self.samples = source, rates, len(samples)
        # Of several processes the first has the longest batches: all plan for it, so that they plan alike.
        self.processes = accelerator.processes().num_processes
        self.sizes = padded_sizes([len(sample["input_ids"]) for sample in samples])[:: self.processes]
        self.answers = sum(len(sample["input_ids"]) - sample["answer_start"] for sample in samples) // self.processes
        self.scalars = {name: parameter.numel() for name, parameter in source.parameters.items()}
        self.itemsize = self.model.dtype.itemsize
        self.stored = (stored or self.model.dtype).itemsize
        self.layers = layer_parameters(self.model)
        self.guarded = len(worked(source.layers, streamed))
        self.multiplied = [multiplied(self.model, build(self.model, "", set(names))) for names in self.layers]

    def plan(self, declarations: list[str], seeds: list[int], room: float | None = None) -> SearchPlan:
        """The plan for these secured sets and seeds. `room` for hidden states is what the memory leaves, unless given.

        Raises StudyError when the memory does not hold one batch of them.
        """
        chosen = [self.source.secured(declaration) for declaration in declarations]
        candidates = list(dict.fromkeys(self.sweep.candidate(one, seed) for one in chosen for seed in seeds))
        weights = self.weights_bytes(candidates)
        least = weights + self.sweep.state_bytes(candidates, max(self.sizes))
        if least > self.memory:
            raise StudyError(
                f"memory: {amount(self.memory)}B allowed, {len(candidates)} models at once need {amount(least)}B "
                f"({amount(weights)}B without hidden states); allow more, or score fewer sets or seeds at once"
            )
        if self.guard_bytes() > self.memory:
            raise StudyError(
                f"memory: {amount(self.memory)}B allowed, comparing the engine with plain Transformers before the "
                f"search needs {amount(self.guard_bytes())}B; allow more"
            )
        room = self.memory - weights if room is None else room
        groups = self.sweep.groups(candidates, self.sizes, room)
        in_use = [len(nodes(candidates, depth + 1)) for depth in range(self.sweep.depth)]
        worked = sum(count * scalars for count, scalars in zip(in_use, self.multiplied, strict=True))
        head = self.model.get_output_embeddings().weight.numel()
        return SearchPlan(
            plain_passes=len(declarations) * len(seeds),
            models=len(candidates),
            samples=self.samples,
            processes=self.processes,
            tokens=sum(self.sizes),
            streamed=self.streamed,
            passes=len(groups),
            pass_bytes=sum(map(self.count, self.layers)) * self.stored,
            bytes_read=len(groups) * self.public_scalars(candidates) * self.stored if self.streamed else 0,
            calls=sum(in_use) * len(self.sizes),
            flops=2 * (worked * sum(self.sizes) + len(candidates) * head * self.answers),
            drawn=len(groups) * self.drawn_scalars(candidates),
            weights=weights,
            states=max(self.sweep.state_bytes(candidates, sum(self.sizes[n] for n in group)) for group in groups),
            room=room,
            guard=self.guard_bytes(),
            guard_read=self.guard_read() if self.streamed else 0,
            memory=self.memory,
            rates=self.rates,
        )

    def at_once(self, seeds: list[int]) -> int:
        """How many prefixes a search scores together with "all": as many as fit one pass, when that pass is a read."""
        for count in range(min(AT_ONCE, self.sweep.depth) if self.streamed else 1, 1, -1):
            with suppress(StudyError):
                if self.plan(wave(1, count, ["all"]), seeds).passes == 1:
                    return count
        return 1

    def public_scalars(self, candidates: list[Candidate]) -> int:
        """Read in one pass: each layer once as it is, and what is open of each partly random one."""
        return sum(
            self.count(set(names) - set(fresh.names if fresh else ()))
            for index, names in enumerate(self.layers)
            for fresh in {candidate.layers[index] for candidate in candidates}
        )

    def drawn_scalars(self, candidates: list[Candidate]) -> int:
        """Drawn in one pass: each random layer once; what lies outside where it enters and again where it leaves."""
        places = [{candidate.layers[index] for candidate in candidates} for index in range(self.sweep.depth)]
        places += [{candidate.entry for candidate in candidates}, {candidate.outside for candidate in candidates}]
        return sum(self.count(fresh.names) for place in places for fresh in place if fresh)

    def weights_bytes(self, candidates: list[Candidate]) -> int:
        """Most bytes held at once besides hidden states: in front of the layers, among them, or behind them.

        A public layer counts as held, although on the CPU it is a view of the file: page cache, not this program's own.
        """
        inside = {name for names in self.layers for name in names}
        always = self.count(set(self.scalars) - inside if self.streamed else self.scalars)
        copy = max((self.random_bytes(one.outside.names) for one in candidates if one.outside), default=0)
        public = max(map(self.count, self.layers)) * self.itemsize if self.streamed else 0
        random = {fresh for candidate in candidates for fresh in candidate.layers if fresh}
        layer = public + max((self.random_bytes(fresh.names) for fresh in random), default=0) + self.layer_work()
        logits = 3 * 4 * min(LOGIT_ROWS, max(self.sizes)) * self.model.get_output_embeddings().weight.shape[0]
        return int(PROGRAM + always * self.itemsize + max(layer, copy + logits))

    def guard_bytes(self) -> int:
        """Most bytes that the guard holds: the weights as they lie, what is outside the layers and a layer in float32.

        Of a streamed model also the layers that it looks at, and what is outside them once more, loaded anew.
        """
        inside = {name for names in self.layers for name in names}
        outside, layer = self.count(set(self.scalars) - inside), max(map(self.count, self.layers))
        lying = self.guarded * layer + 2 * outside if self.streamed else outside + sum(map(self.count, self.layers))
        return int(PROGRAM + lying * self.itemsize + 4 * (outside + layer) * (self.itemsize < 4))

    def guard_read(self) -> int:
        """Bytes that the guard reads of a streamed checkpoint: the engine and Transformers read the same layers."""
        inside = {name for names in self.layers for name in names}
        layers = 2 * self.guarded * max(map(self.count, self.layers))
        return (layers + self.count(set(self.scalars) - inside)) * self.stored

    def random_bytes(self, names: Iterable[str]) -> int:
        """Drawn tensors: all in the model's dtype, the largest in float32 as well."""
        return self.count(names) * self.itemsize + 4 * max(self.scalars[name] for name in names)

    def layer_work(self) -> int:
        """What one layer makes of the largest batch on its way: every matrix's output, and a few float32 states."""
        model = self.model
        shapes = [[self.source.parameters[name].shape for name in names] for names in self.layers]
        wide = [sum(active(model, shape) * max(shape[-2:]) for shape in layer if len(shape) > 1) for layer in shapes]
        return max(self.sizes) * (max(wide) * self.itemsize + 4 * 4 * model.config.get_text_config().hidden_size)

    def count(self, names: Iterable[str]) -> int:
        return sum(self.scalars[name] for name in names)


def wave(first: int, count: int, more: Sequence[str] = ()) -> list[str]:
    """The secured sets that a search scores together: `count` prefixes from the bottom `first` layers up."""
    return [*more, *(f"bottom {layers}" for layers in range(first, first + count))]


def amount(value: float) -> str:
    """12,345,678,900 as "12.3 G"; a unit may follow."""
    for power, letter in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            value = value / 10**power
            return f"{value:.0f} {letter}" if value >= 100 else f"{value:.3g} {letter}"
    return f"{value:.3g} "


def duration(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"
