"""Training in several processes, one a GPU: each has its part of every batch, and together they make one gradient.

Trainer deals the rows of a batch out. DistributedDataParallel is not used: it averages over processes after every
backward pass, where the loss is a mean over the tokens of the whole batch and a process may have more pieces of it.
Models that do not fit one GPU are sharded by PyTorch's own FSDP2, not by accelerate's wrapper of it: that one silently
does something else on CPUs, so that no test could see it.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LRScheduler

from solid_utils.core import files
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator, tensors
from solid_utils.model.structure import decoder_layers

WHOLE = "whole"  # the state of a model that every process has all of


def device_batch(batch: int) -> int:
    """This process's rows of a batch. Raises StudyError where the processes cannot have equally many."""
    processes = accelerator.processes().num_processes
    if batch % processes:
        raise StudyError(
            f"training: a batch of {batch} does not divide among {processes} processes; "
            f"set batch to a multiple of {processes} in params.yaml (tiers), or other parallel processes (models)"
        )
    return batch // processes


def total(count: Tensor) -> Tensor:
    """The sum of a number over all processes."""
    return _over_processes(count, distributed.ReduceOp.SUM)


def most(count: Tensor) -> Tensor:
    """The largest of a number over all processes."""
    return _over_processes(count, distributed.ReduceOp.MAX)


def _over_processes(count: Tensor, operation: distributed.ReduceOp) -> Tensor:
    if accelerator.processes().num_processes > 1:
        distributed.all_reduce(count := count.clone(), operation)
    return count


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Gradients become their sums over all processes, the same bits in each."""
    if accelerator.processes().num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)


def shard(model: nn.Module) -> None:
    """Split every parameter over the processes, in place: gathered layer by layer as a forward or backward needs it.

    Parameters of one layer, and those outside the layers, must be of one dtype. Raises StudyError in a lone process.
    """
    count = accelerator.processes().num_processes
    if count == 1:
        raise StudyError("training: shard needs several processes; set parallel processes in params.yaml (models)")
    mesh = init_device_mesh(accelerator.device().type, (count,))
    for layer in decoder_layers(model)[1]:
        fully_shard(layer, mesh=mesh)
    # By default what lies outside the layers stays whole after a validation, and its shards would miss in a checkpoint.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def sharded(model: nn.Module) -> bool:
    """Has `shard` been here?"""
    return isinstance(model, FSDPModule)


def save_state(optimizer: AcceleratedOptimizer, scheduler: LRScheduler, folder: Path) -> None:
    """Write the optimizer's state and the schedule's; each process its part where the model is sharded.

    Safetensors and JSON: Trainer, and torch.distributed.checkpoint for its metadata, keep pickles.
    """
    part, group = folder / _part(optimizer), accelerator.processes()
    if group.is_main_process or part.name != WHOLE:
        state = optimizer.optimizer.state_dict()
        rows = {f"{number}.{name}": one for number, row in state["state"].items() for name, one in row.items()}
        local = {name: _local(tensor).contiguous().cpu() for name, tensor in rows.items()}
        plain = {"groups": state["param_groups"], "scheduler": scheduler.state_dict()}
        files.write_text(json.dumps(plain), Path(f"{part}.json"))  # makes the folder, too
        tensors.save(local, Path(f"{part}.safetensors"))
    group.wait_for_everyone()  # or the first one would call the checkpoint whole before it is


def load_state(optimizer: AcceleratedOptimizer, scheduler: LRScheduler, folder: Path) -> None:
    """What `save_state` wrote; of a sharded model by as many processes.

    Raises StudyError where it is missing, broken or another's.
    """
    plain, parameters = Path(f"{folder / _part(optimizer)}.json"), _parameters(optimizer)
    try:
        read = json.loads(plain.read_text(encoding="utf8"))
        groups, schedule = read["groups"], read["scheduler"]
        if list(map(sorted, groups)) != list(map(sorted, optimizer.optimizer.param_groups)):
            raise ValueError("groups of another optimizer")
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{plain}: no state of this training; delete the checkpoint's folder and run again") from None
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.load(plain.with_suffix(".safetensors")).items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = _split(tensor, parameters[int(number)])
    optimizer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict(schedule)


def _part(optimizer: AcceleratedOptimizer) -> str:
    """What this process's files are called."""
    if not any(isinstance(parameter, DTensor) for parameter in _parameters(optimizer)):
        return WHOLE
    group = accelerator.processes()
    return f"{group.process_index}-of-{group.num_processes}"


def _parameters(optimizer: AcceleratedOptimizer) -> list[Tensor]:
    """Parameters in the order of the numbers by which an optimizer's state names them."""
    return [parameter for group in optimizer.optimizer.param_groups for parameter in group["params"]]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _split(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that is split as `like` is; a count of steps is whole in every process."""
    if not isinstance(like, DTensor) or tensor.ndim == 0:
        return tensor
    place = {"shape": like.shape, "stride": like.stride(), "run_check": False}
    return DTensor.from_local(tensor.to(like.device), like.device_mesh, like.placements, **place)


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Lay whole tensors over those of a sharded model, by name."""
    # Not strict: a checkpoint holds what is trained, not what stays as the victim has it.
    set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, strict=False))
