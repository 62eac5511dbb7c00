"""Before a search or a scan: does the engine give the logits that plain Transformers gives?

Two texts of at most 32 tokens go through the sweep with nothing, the first, the middle, the last layer, and the
embeddings random, and through the model's own forward with the same tensors put in, each text alone. Both in float32,
a layer at a time. A streamed model is compared with a copy that Transformers' own loader fills, cut to three layers:
the first, the middle and the last are read, the others hand their input on in both.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts
from solid_utils.difficulty.exact import Exact, lift, lift_while_running
from solid_utils.difficulty.loaded import loaded
from solid_utils.difficulty.sweep import Sweep
from solid_utils.difficulty.weights import InMemory, with_tensors
from solid_utils.model import guard
from solid_utils.model.answers import Batch
from solid_utils.model.forward import answer_logits
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.structure import tied_layers

SEED, START = 20, "xavier"  # any will do: it is the engine that is asked, not the start


def chosen(depth: int, count: int = 3) -> list[int]:
    """The first layer, the last, and the middle one, as far as `count` goes."""
    return sorted([*dict.fromkeys((0, depth - 1, depth // 2))][:count])


def worked(layers: DecoderLayers, streamed: bool) -> list[int]:
    """Layers that the guard works through: all in memory, three of a streamed model.

    Both sides read each of them, so two of four: no more than the whole checkpoint once. But all of them where layers
    hand state on, because a middle one may be no donor, and the last would find nothing.
    """
    depth = len(layers)
    if not streamed or layers.hands_on():
        return list(range(depth))
    return chosen(depth, max(1, min(3, depth // 2)))


@torch.inference_mode()
def check(victim: PreTrainedModel | InMemory, samples: list[dict], pad_id: int) -> None:
    """Raise StudyError in one line where the engine is not the model, or the model none that the study can judge.

    Autocast is off inside.
    """
    source = victim if isinstance(victim, InMemory) else InMemory(victim)
    name = type(source.model).__name__
    if tied := tied_layers(source.model):
        raise StudyError(
            f"guard: {name}: {tied[0]} are one tensor, so no layer can be secret alone; {guard.NOTHING}, "
            "this architecture is not supported"
        )
    rows, kept = guard.texts(samples), worked(source.layers, source.streamed)
    layers = kept if source.streamed and len(kept) <= 3 else chosen(len(source.layers))
    declarations = ["none", *(f"layers {index}" for index in layers), "embeddings"]
    with guard.taken_apart(f"guard: {name}"), torch.autocast(source.device.type, enabled=False):
        # The engine first: its copies are gone before the other model is loaded.
        ours = by_engine(Exact(source, kept), rows, declarations, pad_id)
        original = Plain(source, kept)
        for declaration in declarations:
            with original.with_fresh(declaration) as model:
                if declaration == "none":
                    guard.check_causal(model, rows[0])
                plain = [guard.plain(model, row).cpu() for row in rows]  # the engine's are arrays
                off = max(guard.deviation(model, logits, plain[number]) for number, logits in ours[declaration])
            if off > guard.TOLERANCE:
                what = "as it is" if declaration == "none" else f"with {declaration} random"
                raise StudyError(
                    f"guard: {name} {what}: layer by layer its logits are off by {off:.2g} of their standard deviation "
                    f"from a plain forward (at most {guard.TOLERANCE:g}); {guard.NOTHING}, "
                    f"{'the checkpoint or ' * source.streamed}this architecture is not supported"
                )


def by_engine(
    source: InMemory, rows: list[list[int]], declarations: list[str], pad_id: int
) -> dict[str, list[tuple[int, Tensor]]]:
    """By declaration: (number of the text, logits (tokens, vocabulary)), in a padded batch and the first one alone."""
    sweep, samples = Sweep(source, START), [{"input_ids": row, "answer_start": 1} for row in rows]
    batches = [Batch(samples, indices, pad_id, source.device) for indices in ([0, 1], [0])]
    names = {sweep.candidate(source.secured(name), SEED): name for name in declarations}
    found = {name: [] for name in declarations}
    for candidate, batch, logits in sweep.run(list(names), batches, all_logits, ""):
        counts = [len(rows[index]) for index in batch.indices]
        parts = torch.from_numpy(logits).split(counts)
        found[names[candidate]] += zip(batch.indices, parts, strict=True)
    return found


def all_logits(frame: nn.Module, batch: Batch) -> np.ndarray:
    """Float32 logits of every real position, row after row."""
    keep = batch.attention_mask.bool()
    return answer_logits(frame, batch.input_ids, batch.attention_mask, keep).float().cpu().numpy()


class Plain:
    """The same tensors in Transformers' own model, which nothing here takes apart."""

    def __init__(self, source: InMemory, kept: list[int]):
        self.source, self.kept = source, kept
        self.model = loaded(source, kept) if source.streamed else source.model
        self.idle = [index for index in range(len(source.layers)) if index not in kept]

    @contextmanager
    def with_fresh(self, declaration: str) -> Iterator[nn.Module]:
        """A copy with the declared parameters random, in float32: each layer while it runs, the rest throughout."""
        names, parameters = self.source.secured(declaration).names, self.source.parameters
        drawn = starts.draw(self.source.model, names, START, SEED, names, self.source.read)
        values = {name: tensor.to(parameters[name].dtype) for name, tensor in drawn.items()}
        twin = with_tensors(self.model, values, self.source.device)
        layers = twin.get_submodule(self.source.path)
        inside = {id(part) for part in layers.modules()}
        lift(part for part in twin.modules() if id(part) not in inside)
        for layer in layers:
            lift_while_running(layer)
        if not self.idle:
            yield twin
            return
        parts = DecoderLayers(twin)
        with parts.replaced(dict.fromkeys(self.idle, parts.skip)):
            yield twin
