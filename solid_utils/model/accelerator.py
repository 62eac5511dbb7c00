"""This process's accelerator or CPU: what it is, how fast, and whether a run fits its memory. The CPU only warns."""

import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Callable
from datetime import timedelta

import psutil
import torch
from accelerate import PartialState
from torch.distributed.tensor import DTensor

from solid_utils.core import machine
from solid_utils.core.errors import StudyError

# Handing back after every training step cost a fifth of the time; never doing it let the heap grow past 6 GB.
GROWTH = 0.75e9  # bytes a loop may keep before it hands them back
WORTH_SAYING = 1e8  # bytes; a notebook that fits ten small maps said ten times that each needs nothing
_released = [float("inf")]  # fewest resident bytes since the last release


def processes() -> PartialState:
    """This process among those that torch.distributed.run started together, one a GPU; mostly it is alone."""
    # Some wait while the first records what all of them train on, which takes hours at 7B.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=2))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor, gathered from all processes where it is sharded; all of them must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def device() -> torch.device:
    """This process's accelerator if there is one, else the CPU."""
    return processes().device


def own_share(longest_first: list) -> list:
    """This process's part of a list, dealt out one by one, so that the parts are alike in length."""
    return longest_first[processes().process_index :: processes().num_processes]


def release_memory(grown: float = 0) -> None:
    """Hand freed buffers back to the system, if this process has grown by `grown` bytes since it was least.

    Without `grown` always, reference cycles included.

    Kept buffers make a forward faster (see __init__.py), but they pile up: 1 GB of tensors once held 5 GB.
    """
    process = psutil.Process()
    resident = process.memory_info().rss
    _released[0] = min(_released[0], resident)  # it may have shrunk since
    if resident < _released[0] + grown:
        return
    if not grown:  # between phases: always, and reference cycles as well
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    _released[0] = process.memory_info().rss


def matmul_rate(dtype: torch.dtype, device: torch.device, width: int = 2048) -> float:
    """FLOP/s of the fastest of some square matrix products: its practical peak. Takes about half a second.

    A CPU without bfloat16 units needs 90 s for one product of the full width, so the widths grow while they are fast.
    """
    rate, tried = 0.0, min(width, 128)
    while tried <= width and (not rate or 2 * tried**3 / rate < 0.2):
        left, right = (torch.rand(tried, tried, device=device).to(dtype) for _ in range(2))
        rate = fastest(lambda left=left, right=right: left @ right, device, 2 * tried**3, least=0.1)
        tried *= 2
    return rate


def fast_dtype() -> torch.dtype:
    """What this device multiplies fast in; where bfloat16 is emulated, a search would take days in it."""
    emulated = device().type == "cpu" and not machine.multiplies_bfloat16()
    return torch.float32 if emulated else torch.bfloat16


def draw_rate(count: int = 10**7) -> float:
    """Random numbers a second of one stream, drawn in float32 and kept in bfloat16 (torch draws on one core)."""
    stream = torch.Generator()
    return fastest(
        lambda: torch.empty(count).uniform_(-1, 1, generator=stream).to(torch.bfloat16), torch.device("cpu"), count
    )


def fastest(work: Callable[[], object], device: torch.device, units: float, least: float = 0.3) -> float:
    """`units` a second of the fastest of several runs, `least` seconds in all."""
    taken = []
    while len(taken) < 3 or sum(taken) < least:
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()  # a GPU's work is only queued when the call returns
        taken.append(time.perf_counter() - begun)
    return units / min(taken)


def memory_share() -> int:
    """Bytes of memory for this process: its accelerator's if there is one, else its part of this machine's."""
    if device().type == "cuda":
        return torch.cuda.mem_get_info()[1]
    return psutil.virtual_memory().total // processes().num_processes


def half_free() -> bool:
    """Is at least half of this process's accelerator's memory free? Never where there is none."""
    if device().type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info()
    return 2 * free >= total


def check_cpu() -> None:
    """Warn, never stop: without bfloat16 units the default study takes longer and ends at slightly other numbers."""
    if device().type == "cpu" and not machine.multiplies_bfloat16():
        # Seen on an AVX2 machine: a product of width 1024 takes 2.6 s in bfloat16, 0.05 s in float32.
        print(
            "warning: this CPU has no units for bfloat16; `autocast: auto` (configs/models.yaml) takes float32 here, "
            "which rounds otherwise than the shipped run, and `autocast: bfloat16` would be far slower"
        )
    if device().type == "cpu" and (os.cpu_count() or 1) < 2:
        print("warning: one CPU core; expect twice the time")


def check_memory(needed: int, what: str, fix: str = "lower batch in configs/tiers.yaml") -> None:
    """Raise StudyError if `needed` bytes are not available (host memory, or the GPU's where there is one)."""
    there = torch.cuda.mem_get_info()[0] if device().type == "cuda" else psutil.virtual_memory().available
    if needed > WORTH_SAYING:
        print(f"memory: {what} needs about {needed / 1e9:.1f} GB, {there / 1e9:.1f} GB available")
    if needed > there:
        raise StudyError(
            f"memory: {what} needs about {needed / 1e9:.1f} GB, {there / 1e9:.1f} GB available; "
            f"close programs, {fix}, or take a larger machine"
        )


if __name__ == "__main__":
    check_cpu()
