"""States and logits that are trained on, computed once for each distinct query and streamed from disk.

At 7B, 51k queries are about 70 GB of boundary states: they lie in the state folder as safetensors files, which are
mapped, not read, so memory (the system's page cache) holds as much of them as there is room for.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from solid_utils.core import machine
from solid_utils.model import accelerator, tensors
from solid_utils.model.forward import length_batches
from solid_utils.training.training import Collator

TOKENS = 2048  # of one forward, padding included
FILE_BYTES = 2**28  # of one file; it is held in memory while it is made

Compute = Callable[[Tensor, Tensor, Tensor], Tensor]  # (input_ids, attention_mask, keep) -> (kept tokens, width)


class Recorded:
    """Rows of states or logits by sample number; a sample has one row a token, or one an answer token."""

    def __init__(self, paths: Iterable[Path]):
        opened = [tensors.Stored(path) for path in paths]
        self.place = {int(key): file for file in opened for key in file.keys()}  # noqa: SIM118 (no dict)
        self.held: dict[int, Tensor] = {}  # rows that stay on the accelerator, as every epoch asks for them again

    def of(self, numbers: Tensor) -> Tensor:
        """(rows of these samples, width), sample after sample, on the device of `numbers`."""
        if numbers.device.type == "cpu":  # the system's page cache is what would be held
            return torch.cat([self.row(number) for number in numbers.tolist()])
        return torch.cat([self.on(numbers.device, number) for number in numbers.tolist()])

    def row(self, number: int) -> Tensor:
        """The rows of one sample, a view of its file."""
        return self.place[number].get_tensor(str(number))

    def on(self, device: torch.device, number: int) -> Tensor:
        """The rows of one sample on an accelerator, where they stay while at least half of its memory is free."""
        if number in self.held:
            return self.held[number]
        rows = self.row(number).to(device)
        if accelerator.half_free():
            self.held[number] = rows
        return rows

    def each(self) -> Iterator[Tensor]:
        """The rows of one sample after the other, in the order of their numbers; memory holds one."""
        for number in sorted(self.place):
            yield self.of(torch.tensor([number]))


def together(parts: Iterable[Recorded]) -> Recorded:
    """Several recordings of different samples as one."""
    whole = Recorded([])
    for part in parts:
        whole.place |= part.place
    return whole


def record(
    folder: Path,
    samples: dict[int, dict],
    compute: Compute,
    pad_id: int,
    width: int,
    dtype: torch.dtype,
    answers: bool = False,
    alone: bool = False,
) -> Recorded:
    """`compute` of every numbered sample, `width` scalars a token, kept in `folder` as `dtype`.

    With `answers` only the positions that predict a sample's answer tokens count, else all its tokens. Batches hold
    samples of similar length; `alone`: each sample is one, so that its rows do not depend on the others. Files that a
    killed run left whole are used again.
    Raises StudyError when the disk does not hold them or they cannot be written.
    """
    tokens, numbers = [len(sample["input_ids"]) for sample in samples.values()], list(samples)
    rows = sum(tokens) - answers * sum(sample["answer_start"] for sample in samples.values())
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors"))  # of a killed run: no more is asked
    needed = max(0, rows * width * dtype.itemsize - there)
    machine.check_disk(needed, folder, f"{folder.name} of {len(numbers)} sequences")
    places = [[place] for place in range(len(tokens))] if alone else length_batches(tokens, TOKENS)
    batches = [[numbers[place] for place in batch] for batch in places]
    together, paths = max(1, FILE_BYTES // (TOKENS * width * dtype.itemsize)), []
    for first in tqdm(range(0, len(batches), together), desc=folder.name, unit="file", mininterval=5):
        paths.append(folder / f"{first:06}.safetensors")
        if not paths[-1].exists():
            computed = in_batches(samples, batches[first : first + together], compute, pad_id, answers)
            tensors.save({str(number): part.to(dtype, copy=True) for number, part in computed}, paths[-1])
    return Recorded(paths)


def in_batches(
    samples: dict[int, dict], batches: list[list[int]], compute: Compute, pad_id: int, answers: bool
) -> Iterator[tuple[int, Tensor]]:
    """Number and rows of each sample of these batches, on the CPU."""
    for batch in batches:
        padded = Collator(pad_id)([samples[number] for number in batch])
        input_ids, mask = padded["input_ids"], padded["attention_mask"]
        keep = padded["keep"] if answers else mask.bool()
        rows = compute(*(tensor.to(accelerator.device()) for tensor in (input_ids, mask, keep))).cpu()
        yield from zip(batch, rows.split(keep.sum(1).tolist()), strict=True)
