"""What this machine is, and whether a run fits it. The CPU only warns; memory and disk stop a run in one line."""

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import torch
from accelerate import PartialState
from torch.distributed.tensor import DTensor

from solid_utils.errors import StudyError

GROWTH = 0.75e9  # bytes a loop may keep before it hands them back
_released = [float("inf")]  # fewest resident bytes since the last release
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "lm_eval", "numpy", "pandas")


def cpu_facts() -> dict[str, str]:
    """CPU model name and flags from /proc/cpuinfo, or what the platform module knows."""
    facts = {"model name": platform.processor() or platform.machine(), "flags": ""}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    return facts


def describe(threads: int) -> dict[str, str]:
    """What equal digits depend on: CPU type, its bfloat16 units, threads, library versions."""
    facts = cpu_facts()
    flags = set(facts["flags"].split())
    units = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"cpu": facts["model name"], "units": " ".join(units), "threads": str(threads)} | versions


def slug(here: dict[str, str]) -> str:
    """A folder name from what `describe` says: CPU, units and threads."""
    text = f"{here['cpu']} {here['units']} {here['threads']} threads".lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


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
    """FLOP/s of the fastest of some square matrix products: its practical peak. Takes about half a second."""
    left, right = (torch.rand(width, width, device=device).to(dtype) for _ in range(2))
    return fastest(lambda: left @ right, device, 2 * width**3)


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
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return units / min(taken)


def read_rate(path: Path, most: int = 2**28) -> float:
    """Bytes a second from the disk: the first 256 MB of a file, which leaves the page cache for it."""
    leave_cache(path)
    with path.open("rb", buffering=0) as file:
        begun, seen = time.perf_counter(), 0
        while seen < most and (piece := file.read(2**24)):
            seen += len(piece)
    return seen / (time.perf_counter() - begun)


def leave_cache(path: Path) -> None:
    """Have a file leave the page cache, where the system can, so that the next read comes from the disk."""
    with path.open("rb") as file:
        with contextlib.suppress(OSError):  # only what is on the disk can leave
            os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def anonymous_memory() -> tuple[int, int] | None:
    """Bytes of this process's own (anonymous) memory, and of the file pages it has mapped; None where not told."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return tuple(1024 * int(facts[name].split()[0]) for name in ("RssAnon", "RssFile"))


def memory_share() -> int:
    """Bytes of memory for this process: its accelerator's if there is one, else its part of this machine's."""
    if device().type == "cuda":
        return torch.cuda.mem_get_info()[1]
    return psutil.virtual_memory().total // processes().num_processes


def check_cpu() -> None:
    """Warn, never stop: without bfloat16 units the default study takes longer."""
    units = describe(0)["units"]
    if device().type == "cpu" and "avx512_bf16" not in units:
        print("warning: this CPU has no avx512_bf16; the default study takes about 2 to 3 hours instead of 40 minutes")
    if device().type == "cpu" and (os.cpu_count() or 1) < 2:
        print("warning: one CPU core; expect twice the time")


def check_memory(needed: int, what: str) -> None:
    """Raise StudyError if `needed` bytes are not available (host memory, or the GPU's where there is one)."""
    there = torch.cuda.mem_get_info()[0] if device().type == "cuda" else psutil.virtual_memory().available
    print(f"memory: {what} needs about {needed / 1e9:.1f} GB, {there / 1e9:.1f} GB available")
    if needed > there:
        raise StudyError(
            f"memory: {what} needs about {needed / 1e9:.1f} GB, {there / 1e9:.1f} GB available; "
            "close programs, lower batch in params.yaml (tiers), or take a larger machine"
        )


def check_disk(needed: int, folder: Path, what: str) -> None:
    """Raise StudyError if `folder`'s disk has fewer than `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    print(f"disk: {what} needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB free", flush=True)
    if needed > free:
        raise StudyError(
            f"{folder}: {what} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB free; free some, e.g. by `dvc gc -w`"
        )


if __name__ == "__main__":
    check_cpu()
