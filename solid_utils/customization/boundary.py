"""States that leave a secured bottom part, computed once a sample: nothing below them is ever trained.

Each is computed alone, recorded or not, so that its bits depend neither on a batch nor on how much the disk holds.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from torch import Tensor, nn

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import measuring
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.structure import decoder_layers, layer_parameters, parameters_after_layers
from solid_utils.training.recorded import Recorded, record


def frontier(model: nn.Module, trained: set[str], after: set[str] | None = None) -> int:
    """The last layer up to which nothing is trained, embeddings included; -1 where there is none.

    `trained`: names of parameters of `model`, adapters that stand in its layers among them. `after`: names of what
    follows its layers, for a model without values, which cannot be asked (structure.parameters_after_layers).
    """
    inside = layer_parameters(model)
    own = {name for names in inside for name in names}
    after = parameters_after_layers(model) if after is None else after
    before = {name for name, _ in model.named_parameters()} - own - after
    if before & trained:
        return -1
    last = next((number for number, names in enumerate(inside) if trained.intersection(names)), len(inside))
    return last - 1


class Boundary:
    """Training samples' states after layer `last`, (tokens, width) each, kept as far as `share` of the disk goes."""

    def __init__(self, plain: nn.Module, last: int, samples: list[dict], folder: Path, share: float, pad_id: int):
        """`plain`: the model without adapters, whose layers the trained model shares."""
        self.model, self.last, self.pad_id = plain, last, pad_id
        self.layers = DecoderLayers(plain)
        self.recorded = self.record(samples, folder, share)

    def record(self, samples: list[dict], folder: Path, share: float) -> Recorded:
        """The states of the first samples that the disk has room for; prints their size before."""
        folder.mkdir(parents=True, exist_ok=True)
        width, dtype = self.model.config.get_text_config().hidden_size, self.model.dtype
        free = shutil.disk_usage(folder).free + sum(path.stat().st_size for path in folder.iterdir())
        sizes = [len(sample["input_ids"]) * width * dtype.itemsize for sample in samples]
        fitting = fits(sizes, share * free)
        print(
            f"boundary states after layer {self.last}: {sum(sizes) / 1e9:.2f} GB for {len(sizes)} samples, "
            f"{share * free / 1e9:.2f} GB allowed; {fitting} are kept, the others computed anew in every epoch",
            flush=True,
        )

        def compute(input_ids: Tensor, _: Tensor, keep: Tensor) -> Tensor:
            return self.states(input_ids)[keep]

        numbered = dict(enumerate(samples[:fitting]))
        return record(folder, numbered, compute, self.pad_id, width, dtype, alone=True) if numbered else Recorded([])

    def states(self, input_ids: Tensor) -> Tensor:
        """(1, tokens, width) of one text, from the model as it is without dropout and gradients."""
        with measuring(self.model):
            return self.layers.boundary(input_ids, self.last)

    def begun(self, batch: dict[str, Tensor]) -> AbstractContextManager:
        """For the duration, a forward of this batch begins after layer `last`; up to it no layer does any work."""
        lengths = batch["attention_mask"].sum(1).tolist()
        rows = []
        for row, (number, length) in enumerate(zip(batch["number"].tolist(), lengths, strict=True)):
            if number in self.recorded.place:
                rows.append(self.recorded.of(batch["number"][row : row + 1]))
            else:
                rows.append(self.states(batch["input_ids"][row : row + 1, :length])[0].to(self.model.dtype))
        return self.layers.leaving(nn.utils.rnn.pad_sequence(rows, batch_first=True), self.last)

    def loss(self, loss: Callable) -> Callable:
        """The same loss, begun at the states."""

        def begun(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            with self.begun(batch):
                return loss(model, batch)

        return begun


def fits(sizes: list[int], room: float) -> int:
    """How many of the first entries fit the room together."""
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if total > room:
            return number
    return len(sizes)


def check(plain: nn.Module, last: int, key: str) -> None:
    """Raises StudyError where no states can be kept: something below, or in layer 0, is trained, or states are not all
    that layers hand on (keys and values that later ones read): those above would find nothing."""
    if last < 0:
        raise StudyError(
            f"{key}: cache: nothing lies below what is trained, so no states can be kept; leave cache out, or secure "
            f"bottom layers of the {len(decoder_layers(plain)[1])}"
        )
    if DecoderLayers(plain).hands_on():
        raise StudyError(
            f"{key}: cache: layers of {type(plain).__name__} hand on more than their state, so kept states do not "
            "replace what lies below; leave cache out"
        )
