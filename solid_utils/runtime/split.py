"""Split a model: an open folder for the customer's fine-tuning, a sealed one for the secure world.

solid-split MODEL SECURED OUT --key file:KEY

OUT/open    what is open as plain safetensors, configuration, tokenizer, manifest.json: stock Transformers loads it, and
            says that exactly the secured tensors are missing. They are absent, not zero.
OUT/sealed  the secured tensors, encrypted (seal.py), and the counters of what was asked (counters.py).
"""

import argparse
import fnmatch
import hashlib
import hmac
import json
from pathlib import Path

import torch
from pydantic import ValidationError
from transformers import PreTrainedModel

from solid_utils.core import errors, files, folders, readers
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet, note, secured_set
from solid_utils.model import checkpoint, loading, tensors
from solid_utils.runtime import counters, keys, manifest, seal
from solid_utils.runtime.doors import doors
from solid_utils.runtime.manifest import Manifest, Policy, Secured

OPEN, SEALED = "open", "sealed"
# Beside the weights of a save_pretrained folder, and no part of the model.
APART = ["*.index.json", "adapter_*", "source.json", "trainer_state.json", manifest.MANIFEST, "requirements*.txt"]
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def split(
    folder: Path,
    declaration: str,
    out: Path,
    key: bytes,
    policy: Policy | None = None,
    private: bytes | None = None,
    key_file: Path | None = None,
) -> Manifest:
    """Write both halves of a model's folder, whole or not at all; `private` signs the manifest.

    A new key is kept in `key_file` once all is sealed, just before the halves are there: never halves without a key,
    and no key of a split that was refused.

    Raises StudyError where there is no such model, set or place, where `out` holds anything but the halves of an
    earlier split, and for models of other types than float32 and bfloat16.
    """
    check_place(out)
    found = checkpoint.find(folder)
    opened = found.opened()  # a GGUF file is refused here
    model = loading.load(found, dtype_of(found, opened), opened=opened)
    secured = secured_set(model, declaration)
    if not secured.names:
        raise StudyError(f"secured set '{declaration}': nothing is secured, so there is nothing to split; name layers")
    doors(model, secured.names)  # refuses what cannot be served
    if said := note(model, secured):
        print(f"split: {said}", flush=True)
    with folders.whole(out) as partial:
        copy_small(found, partial / OPEN)
        tensors.save(open_tensors(model, secured), partial / OPEN / checkpoint.SINGLE)
        mark = hmac.new(keys.derived(key, "fingerprint"), found.sha256(opened).encode(), hashlib.sha256)
        made = described(model, secured, partial / OPEN, mark.hexdigest(), policy or Policy())
        manifest.write(made, partial / OPEN)
        if private:
            manifest.sign(partial / OPEN, private)
        binding = manifest.sha256(partial / OPEN)
        secret = {name: parameter for name, parameter in model.named_parameters() if name in set(secured.names)}
        seal.seal(secret, made, binding, key, partial / SEALED)
        counters.begin(partial / SEALED, key, binding)
        if key_file:
            keys.keep(key, key_file)
    return made


def dtype_of(found: checkpoint.Checkpoint, opened: list[tensors.Stored]) -> torch.dtype:
    """The one type of the weights. Raises StudyError where there is another, or several."""
    there = sorted({dtype for stored in opened for dtype in stored.dtypes.values()})
    if len(there) != 1 or there[0] not in DTYPES:
        raise StudyError(f"{found}: weights of type {', '.join(there)}; save_pretrained it in float32 or bfloat16")
    return DTYPES[there[0]]


def copy_small(found: checkpoint.Checkpoint, folder: Path) -> None:
    """Configuration and tokenizer, as they are."""
    for path in sorted(found.folder.iterdir()):
        small = any(fnmatch.fnmatch(path.name, pattern) for pattern in checkpoint.SMALL)
        if path.is_file() and small and not any(fnmatch.fnmatch(path.name, pattern) for pattern in APART):
            files.copy(path, folder / path.name)


def open_tensors(model: PreTrainedModel, secured: SecuredSet) -> dict[str, torch.Tensor]:
    """What is no secret, by the model's own names: parameters (tied ones once) and buffers that a checkpoint holds."""
    secret, parameters = set(secured.names), dict(model.named_parameters())
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(parameters)
    return {
        name: tensor.detach().contiguous().cpu()
        for name, tensor in model.state_dict().items()
        if name not in secret and name not in tied
    }


def described(model: PreTrainedModel, secured: SecuredSet, folder: Path, fingerprint: str, policy: Policy) -> Manifest:
    """The manifest of an open folder as it lies there.

    `fingerprint`: keyed, because a plain hash of secured tensors would confirm a guess of them, such as a public
    model's own layer.
    """
    parameters = dict(model.named_parameters())
    types = {name: str(parameters[name].dtype).removeprefix("torch.") for name in secured.names}
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    return Manifest(
        model=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        fingerprint=fingerprint,
        declaration=secured.declaration,
        secured=tuple(
            Secured(name=name, dtype=types[name], shape=tuple(parameters[name].shape)) for name in secured.names
        ),
        files=digests,
        policy=policy,
    )


def check_place(out: Path) -> None:
    """Raises StudyError where there is more than an earlier split: the halves take the whole folder's place."""
    others = sorted({path.name for path in out.glob("*")} - {OPEN, SEALED})
    if others:
        raise StudyError(f"{out}: holds '{others[0]}', which would be deleted; name a folder of the halves' own")


def read_policy(path: Path | None) -> Policy:
    """A policy written as JSON; none: the usual one. Raises StudyError where a key is none, or a value not allowed."""
    if path is None:
        return Policy()
    try:
        return Policy.model_validate(readers.read_object(path, "write a JSON object"))
    except ValidationError as error:
        first = error.errors()[0]
        known = json.dumps(Policy().model_dump())
        raise StudyError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; as in {known}") from None


def command() -> None:
    """The command solid-split."""
    parser = argparse.ArgumentParser(prog="solid-split", description="Split a model into an open and a sealed half.")
    parser.add_argument("model", type=Path, help="a folder made by save_pretrained")
    parser.add_argument("secured", help="what is secured, such as 'layers 0-3'")
    parser.add_argument("out", type=Path, help="the folder that gets open/ and sealed/")
    parser.add_argument("--key", help=f"the sealing key: {keys.FORMS}")
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="make a key, keep it there, and seal with it")
    parser.add_argument("--sign", metavar="KEY", help="sign the manifest with this key (Ed25519), same forms")
    parser.add_argument("--policy", type=Path, help="limits, boundary and gradients, as a JSON object")
    wanted = parser.parse_args()
    with errors.one_line():
        if (wanted.key is None) == (wanted.new_key is None):
            raise StudyError("key: give either --key or --new-key")
        policy = read_policy(wanted.policy)
        key = keys.fresh(wanted.new_key) if wanted.new_key else keys.read(wanted.key)
        private = keys.read(wanted.sign) if wanted.sign else None
        made = split(wanted.model, wanted.secured, wanted.out, key, policy, private, wanted.new_key)
        print(f"{wanted.out / OPEN}: open, {len(made.files)} files")
        print(f"{wanted.out / SEALED}: {len(made.secured)} tensors sealed ('{made.declaration}')")
        if private:
            print(f"manifest signed; public key {manifest.public_key(private)}")


if __name__ == "__main__":
    command()
