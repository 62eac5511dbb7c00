"""Get a victim, and keep replicas as the tensors that differ from it."""

import copy
import hashlib
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from solid_utils.core import errors, files, folders, machine, paths
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator, checkpoint, loading, random_model, roundings, tensors
from solid_utils.model import tokenizer as door
from solid_utils.settings import params


def victim_folder(name: str) -> Path:
    return paths.CHECKPOINTS / name / "victim"


def base_folder(name: str) -> Path:
    """The public base of a victim, inside the victim's folder: what depends on that one depends on both."""
    return victim_folder(name) / "base"


def materialise(folder: Path, spec: params.Model) -> None:
    """Write a model once: bfloat16 safetensors and tokenizer; for a hub model a pointer to its resolved commit.

    An older one stays until all of the new one is written. source.json comes last: a folder without it is half of a
    model, see `load`.
    """
    if spec.source == "hub":
        model, tokenizer, revision = from_hub(spec)
    elif spec.source == "folder":
        model, tokenizer, revision = from_folder(Path(spec.path))
    elif spec.source in ("packaged", "parts"):
        fix = "run `dvc repro fetch`" if spec.source == "packaged" else "run `python -m solid_utils.raw.parts MODEL`"
        model, tokenizer, revision = from_gguf(Path(spec.path), fix)
    elif spec.source == "customized":
        model, tokenizer, revision = from_customized(folder / "base", Path(spec.path))  # made before, see below
    else:
        model, tokenizer, revision = random_model.random_llama(spec.shape)
    with folders.staged(folder) as made:
        if spec.source != "hub":  # hub weights stay in the hub's own cache
            # Twice: safetensors files are written again with digests, one after the other.
            machine.check_disk(2 * 2 * model.num_parameters(), folder, f"the model {spec.path or ''}")
            save(model, tokenizer, made)
        (folder / "source.json").unlink(missing_ok=True)
        folders.put(made, folder, stale=("*.safetensors", checkpoint.INDEX))
    files.write_json({"source": spec.source, "revision": revision}, folder / "source.json")


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model in bfloat16, its tensors with digests, and its tokenizer. Raises OSError where that fails."""
    try:
        model.to(torch.bfloat16).save_pretrained(folder)
    except safetensors.SafetensorError as error:  # what a full disk is to safetensors
        raise OSError(error) from None
    for path in sorted(folder.glob("*.safetensors")):
        tensors.save(safetensors.torch.load_file(path), path)
    tokenizer.save_pretrained(folder)


def from_hub(spec: params.Model) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """A hub model at its pinned revision. Raises StudyError without hub access."""
    try:
        # No pickles and no code of the repository's own: either could run anything here.
        folder = checkpoint.download(spec.path, spec.revision)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"models: {spec.path}: no access to the Hugging Face hub ({type(error).__name__}); "
            "log in with `hf auth login` where there is one, or set source: folder and path: FOLDER in params.yaml"
        ) from None
    model = loading.load(checkpoint.find(folder), torch.bfloat16)
    return model, door.load(folder, model), folder.name  # of the hub's cache: the commit


def from_folder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """A local save_pretrained folder, or a GGUF file. Raises StudyError when there is none, or a broken one."""
    found = checkpoint.find(folder)
    if found.gguf:
        return from_gguf(folder)
    if note := found.note():
        print(note, flush=True)
    opened = found.opened()
    model = loading.load(found, torch.bfloat16, opened=opened)
    return model, door.load(folder, model), found.revision(found.sha256(opened))


def from_gguf(path: Path, fix: str = "give another") -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """A GGUF file, dequantised. Raises StudyError when the file is missing or broken."""
    if not path.exists():
        raise StudyError(f"models: {path}: missing; {fix}")
    print(f"dequantising {path.name} (20 s to some minutes)", flush=True)
    found = checkpoint.find(path)
    model = loading.load(found, torch.float32)
    if said := roundings.tie(model):
        print(f"{path.name}: {said}", flush=True)
    return model, door.load(path.parent, model, **found.named), found.revision(found.sha256())


def from_customized(base: Path, delta: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """What a customization made of the public base: its checkpoint (notebook 04) laid over the base's weights.

    Raises StudyError when the base or the checkpoint is missing.
    """
    if not delta.exists():
        raise StudyError(
            f"models: {delta}: missing; run the customization that writes it, or mend path: in params.yaml"
        )
    model, tokenizer, revision = from_folder(base)
    load_delta(model, delta)
    return model, tokenizer, hashlib.sha256(revision.encode() + delta.read_bytes()).hexdigest()[:12]


def load_victim(name: str, spec: params.Model) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """The materialised victim in evaluation mode, its tokenizer and its revision. Raises StudyError when missing."""
    return load(victim_folder(name), spec, name)


def load_base(name: str, spec: params.Model) -> PreTrainedModel:
    """The public base of victim `name`, described by `spec`. Raises StudyError when missing."""
    return load(base_folder(name), spec, name)[0]


def load(folder: Path, spec: params.Model, victim: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """What `materialise` wrote, as `load_victim` returns it."""
    if not (folder / "source.json").exists():
        raise StudyError(f"{folder}: no model there; run `dvc repro victim@{victim}`")
    source = checkpoint.read_json(folder / "source.json")
    if missing := {"source", "revision"} - set(source):
        raise StudyError(f"{folder / 'source.json'}: no {missing.pop()} in it; run `dvc repro victim@{victim}`")
    if source["source"] == "hub":
        # The commit that was found when the stage ran, not where a branch such as main points now.
        model, tokenizer, _ = from_hub(spec.model_copy(update={"revision": source["revision"]}))
        model = model.to(getattr(torch, spec.weights))
    else:
        found = checkpoint.find(folder)
        size = sum(path.stat().st_size for path in found.files)
        # On the disk it is bfloat16.
        doubled = spec.weights == "float32"
        fix = f"set weights: bfloat16 and autocast: bfloat16 in models.{victim} (configs/models.yaml), which takes half"
        needed = size * (2 if doubled else 1)
        accelerator.check_memory(needed, f"the model in {folder}", fix if doubled else "take a smaller model")
        model = loading.load(found, getattr(torch, spec.weights))
        tokenizer = door.load(folder, model)
    return model.eval().to(accelerator.device()), tokenizer, source["revision"]


@contextmanager
def precision(spec: params.Model) -> Iterator[None]:
    """Autocast as the model's section asks: bfloat16 products over its weights, or nothing."""
    with torch.autocast(accelerator.device().type, torch.bfloat16, enabled=spec.products is not None):
        yield


def clone(model: PreTrainedModel) -> PreTrainedModel:
    """An independent copy in memory, evaluation mode, no gradients stored."""
    twin = copy.deepcopy(model)
    twin.zero_grad(set_to_none=True)
    return twin.eval()


@torch.no_grad()
def open_part(victim: PreTrainedModel, secret: Iterable[str], shared: bool = False) -> PreTrainedModel:
    """What a deployment hands out: a copy of the victim whose secret parameters are not a number.

    `shared`: its open parameters are the victim's own, for an attack that trains none of them: of a victim that fills
    half of the memory a second copy, and a second bfloat16 copy of it under autocast, would not fit (a 1.5B model took
    22 GB, and was killed).
    """
    secret = set(secret)
    if shared:
        kept = {id(parameter): parameter for name, parameter in victim.named_parameters() if name not in secret}
        copied = copy.deepcopy(victim, kept).eval()
    else:
        copied = clone(victim)
    for name, parameter in copied.named_parameters():
        if name in secret:
            parameter.fill_(math.nan)  # so that whatever reads one by mistake ends as nan, and is seen
    return copied


def save_delta(
    replica: torch.nn.Module, victim: torch.nn.Module, path: Path, beside: dict[str, torch.Tensor] | None = None
) -> int:
    """Write the replica's tensors that differ from the victim's, in bfloat16. Returns how many. Whole or not at all.

    `beside`: further tensors of the replica that are no parameters. Of several processes the first one writes.
    """
    base = dict(victim.named_parameters())
    delta = {}
    for name, tensor in replica.named_parameters():
        half = accelerator.whole(tensor.detach()).to(torch.bfloat16)
        if not torch.equal(half, base[name].detach().to(torch.bfloat16)):  # as kept: what rounds away is no change
            delta[name] = half.contiguous().cpu()
    delta |= {name: tensor.to(torch.bfloat16).contiguous().cpu() for name, tensor in (beside or {}).items()}
    for name, tensor in delta.items():
        if not tensor.isfinite().all():
            raise StudyError(f"{path}: {name} is not finite after training; lower learning_rate in configs/tiers.yaml")
    # Only here: gathering a sharded tensor, above, takes all processes.
    if not accelerator.processes().is_main_process:
        return len(delta)
    machine.check_disk(sum(2 * tensor.numel() for tensor in delta.values()), path.parent, "the replica")
    tensors.save(delta, path, {"format": "pt"})
    return len(delta)


def load_delta(replica: torch.nn.Module, path: Path, beside: Iterable[str] = ()) -> dict[str, torch.Tensor]:
    """Lay a saved delta over a copy of the victim, in place; returns the tensors `beside` it. StudyError if foreign."""
    delta = tensors.load(path)
    if missing := [name for name in beside if name not in delta]:
        raise StudyError(f"{path}: no {missing[0]} there; delete the file and run `dvc repro`")
    apart = {name: delta.pop(name) for name in beside}
    parameters = dict(replica.named_parameters())
    if foreign := sorted(set(delta) - set(parameters)):
        raise StudyError(f"{path}: {foreign[0]} is no parameter of this model; delete the file and run `dvc repro`")
    for name, tensor in delta.items():
        shape = tuple(parameters[name].shape)
        if (
            tuple(tensor.shape) != shape or not tensor.is_floating_point()
        ):  # copy_ would stretch one number over a matrix
            raise StudyError(
                f"{path}: {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, the model's has {shape}; delete the "
                "file and run `dvc repro`"
            )
    with torch.no_grad():
        for name, tensor in delta.items():
            parameters[name].copy_(tensor)
    # What a deployment hands out is not a number where it is secret, so a replica that lacks a tensor shows here.
    if broken := [name for name, parameter in parameters.items() if not parameter.isfinite().all()]:
        raise StudyError(f"{path}: {broken[0]} is missing or not finite there; delete the file and run `dvc repro`")
    return apart


if __name__ == "__main__":
    with errors.one_line():
        study = params.load()
        torch.set_num_threads(study.threads)
        name = sys.argv[1]
        if base := study.model(name).base:  # first: a customized victim is laid over it
            materialise(base_folder(name), study.model(base))
        materialise(victim_folder(name), study.model(name))
