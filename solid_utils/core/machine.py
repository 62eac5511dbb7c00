"""What this machine is, its disk and its memory; nothing here knows torch."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

from solid_utils.core import readers
from solid_utils.core.errors import StudyError

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "lm_eval", "numpy", "pandas")
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # units that multiply in bfloat16: two of x86, one of Arm
FACTS = ("cpu", "units", "threads")  # what `describe` says besides their versions


def cpu_facts() -> dict[str, str]:
    """CPU model name and flags from /proc/cpuinfo, or what the platform module knows."""
    facts = {"model name": platform.processor() or platform.machine(), "flags": ""}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():  # one core of many alike
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    return facts


def units(facts: dict[str, str]) -> list[str]:
    """Of `cpu_facts`, the units that decide which dtype is fast and what rounding gives."""
    flags = set((facts["flags"] or facts.get("Features", "")).split())  # Features: what an Arm CPU calls its flags
    return [flag for flag in ("avx512f", *BFLOAT16) if flag in flags]


def multiplies_bfloat16() -> bool:
    """Has this CPU units for products in bfloat16? Others emulate them: with AVX2 alone 50 times as slow as float32."""
    return bool(set(units(cpu_facts())) & set(BFLOAT16))


@cache
def gpu() -> str:
    """The name of the first NVIDIA GPU that the driver lists; empty where there is none, or it is hidden."""
    if not shutil.which("nvidia-smi") or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return ""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.splitlines()[0].strip() if told.strip() else ""


def describe(threads: int) -> dict[str, str]:
    """What equal digits depend on: CPU type, its bfloat16 units, threads, GPU if there is one, library versions."""
    facts = cpu_facts()
    here = {"cpu": facts["model name"], "units": " ".join(units(facts)), "threads": str(threads)}
    here |= {"gpu": gpu()} if gpu() else {}
    return here | {name: importlib.metadata.version(name) for name in LIBRARIES}


def read(path: Path) -> dict[str, str]:
    """What `describe` said of the machine of a shipped run. Raises StudyError where the file is none of this kind."""
    fix = "ship the run again (python -m solid_utils.report.compare --ship)"
    there = readers.read_object(path, fix)
    for name in (*FACTS, *(name for name in LIBRARIES if name in there)):
        if not isinstance(there.get(name), str):
            raise StudyError(f"{path}: {name} is {there.get(name)!r}, no text; {fix}")
    return there


def slug(here: dict[str, str]) -> str:
    """A folder name from what `describe` says: the GPU where there is one, else CPU, units and threads."""
    text = here.get("gpu") or f"{here['cpu']} {here['units']} {here['threads']} threads"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


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
