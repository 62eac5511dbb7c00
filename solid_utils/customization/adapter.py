"""A customer's product: a standard peft adapter folder, and beside it what it was made for.

Plain peft loads it on the open part; `load` here refuses it first on another model or another secured set.
"""

import hashlib
import json
from pathlib import Path

import peft
import torch
from torch import nn

from solid_utils.core import files, folders, readers
from solid_utils.core.errors import StudyError
from solid_utils.deployment.frozen import frozen
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model import tensors

FOLDER = "adapter"
MADE_FOR = "solid.json"  # beside peft's own two files
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def fingerprint(model: nn.Module, secured: SecuredSet) -> dict[str, str]:
    """What an adapter is made for: the secured set by its names, and the open part by its values in bfloat16.

    Both are a customer's to compute: secret values are not read. `model` is plain, without adapters.
    """
    secret, open_part = set(secured.names), hashlib.sha256()
    for name, parameter in model.named_parameters():
        if name not in secret:
            open_part.update(f"{name} {tensors.digest(parameter.detach().to(torch.bfloat16).cpu())}\n".encode())
    names = hashlib.sha256("\n".join(sorted(secret)).encode())
    return {"secured": names.hexdigest(), "open": open_part.hexdigest()}


def save(model: peft.PeftModel, plain: nn.Module, secured: SecuredSet, name: str, folder: Path) -> None:
    """Write the adapter of `model`, whole or not at all; `plain` is the untouched victim, `name` what it is called.

    The same adapter gives the same bytes: peft writes its list of modules in an order of chance, and a page without
    content.
    """
    with folders.whole(folder) as made:
        model.save_pretrained(made)
        (made / "README.md").unlink(missing_ok=True)
        said = json.loads((made / CONFIG).read_text(encoding="utf8"))
        said |= {
            key: sorted(said[key]) for key in ("target_modules", "target_parameters") if isinstance(said.get(key), list)
        }
        # The folder that it was loaded from is this machine's.
        files.write_json(said | {"base_model_name_or_path": name}, made / CONFIG, indent=2)
        tensors.save(tensors.load(made / WEIGHTS), made / WEIGHTS)
        made_for = {"model": name, "declaration": secured.declaration} | fingerprint(plain, secured)
        made_for |= {"files": {one: files.sha256(made / one) for one in (CONFIG, WEIGHTS)}}
        files.write_json(made_for, made / MADE_FOR, indent=2)


def check(folder: Path, model: nn.Module, secured: SecuredSet) -> None:
    """Raises StudyError where the adapter in `folder` is missing, altered, or of another model or secured set.

    A scale changed in the config, or weights with some left out, would load without a word and answer otherwise.
    """
    fix = "make it again (dvc repro customize@MODEL-RUN)"
    for name in (MADE_FOR, CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise StudyError(f"{folder / name}: missing; {fix}")
    readers.read_object(folder / CONFIG, fix)
    made_for = readers.read_object(folder / MADE_FOR, fix)
    here = fingerprint(model, secured)
    if made_for.get("secured") != here["secured"]:
        raise StudyError(
            f"{folder}: an adapter of a deployment that secures '{made_for.get('declaration')}', here it is "
            f"'{secured.declaration}'; take that deployment, or {fix}"
        )
    if made_for.get("open") != here["open"]:
        raise StudyError(f"{folder}: an adapter of another model ({made_for.get('model')}); take that model, or {fix}")
    written = made_for.get("files")
    for name in (CONFIG, WEIGHTS):
        if not isinstance(written, dict) or written.get(name) != files.sha256(folder / name):
            raise StudyError(f"{folder / name}: not the file that was saved, by its sha256 in {MADE_FOR}; {fix}")


def load(folder: Path, model: nn.Module, secured: SecuredSet) -> peft.PeftModel:
    """`model` with the adapter in `folder`, in evaluation mode.

    Raises StudyError as `check` does, where peft cannot put it on this model, and where one stands on a secured tensor.
    """
    check(folder, model, secured)
    try:
        adapted = peft.PeftModel.from_pretrained(model, folder)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise StudyError(f"{folder / CONFIG}: peft refuses it ({said[0]}); make the adapter again") from None
    frozen(adapted, secured)
    return adapted.eval()
