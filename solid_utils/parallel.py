"""Training in several processes, one a GPU: each has its part of every batch, and together they make one gradient.

Trainer deals the rows of a batch out. DistributedDataParallel is not used: it averages over processes after every
backward pass, where the loss is a mean over the tokens of the whole batch and a process may have more pieces of it.
"""

from collections.abc import Iterable

from torch import Tensor, distributed, nn

from solid_utils import machine
from solid_utils.errors import StudyError


def device_batch(batch: int) -> int:
    """This process's rows of a batch. Raises StudyError where the processes cannot have equally many."""
    processes = machine.processes().num_processes
    if batch % processes:
        raise StudyError(
            f"training: a batch of {batch} does not divide among {processes} processes; "
            f"set batch to a multiple of {processes} in params.yaml (tiers), or other parallel.processes (models)"
        )
    return batch // processes


def total(count: Tensor) -> Tensor:
    """The sum of a number over all processes."""
    if machine.processes().num_processes > 1:
        distributed.all_reduce(count := count.clone())
    return count


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Gradients become their sums over all processes, the same bits in each."""
    if machine.processes().num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
