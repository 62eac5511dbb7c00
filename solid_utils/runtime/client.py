"""The customer's model: Transformers' own class over the open half, with a socket where something is secured.

model = SemiOpenForCausalLM.from_pretrained("halves/open", socket="secure.sock")
model.generate(...)          # Trainer, peft and lm-eval take it as any other
model.secure.counts()        # what was asked until now
model.secure.open()          # begin again, after the secure world was started anew
"""

from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.model import tensors
from solid_utils.model.checkpoint import SINGLE
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.structure import decoder_layers, layer_parameters, parameters_after_layers
from solid_utils.runtime import manifest
from solid_utils.runtime.doors import Doors, doors
from solid_utils.runtime.hollow import fill, forget, hollow
from solid_utils.runtime.inside import pass_on
from solid_utils.runtime.link import Link
from solid_utils.runtime.remote import Blank, Head, Lone, SegmentCall, Through


class SemiOpenForCausalLM:
    """Makes a customer's model. What it returns is of Transformers' own class, so that every tool knows it."""

    @staticmethod
    def from_pretrained(
        folder: str | Path, socket: str, public_key: str | None = None, remember: int = 0
    ) -> PreTrainedModel:
        """The open half of a split model, its secured part behind `socket`; in evaluation mode, on the CPU.

        `public_key`: the vendor's, 64 hexadecimal digits, which must have signed the manifest. `remember`: bytes of
        states that a bottom set's texts are not asked for twice (fine-tuning sees each text once an epoch).
        Raises StudyError where the folder is not what was split, or no secure world answers.
        """
        folder = Path(folder)
        if public_key is not None:
            manifest.check_signature(folder, public_key)
        made = manifest.read(folder)
        manifest.check_files(folder, made)
        model = hollow(folder, made)
        through, form, dtype = doors(model, made.names), DecoderLayers(model).form, model.dtype
        below = frozen(model, through)
        link = Link(socket, manifest.sha256(folder), remember)
        model.get_decoder().register_forward_pre_hook(link.note, with_kwargs=True)
        put_layers(model, link, through, form)
        put_modules(model, link, through)
        fill_open(model, folder, set(made.names))
        if not any(True for _ in model.parameters()):  # Transformers reads device and type off the first one
            model.register_parameter("nothing_open", torch.nn.Parameter(torch.zeros(0, dtype=dtype)))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(link.gradients or name not in below)
        if (folder / "generation_config.json").exists():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        model.config.name_or_path = str(folder)
        model.secure = link
        return model.eval()


def frozen(model: PreTrainedModel, through: Doors) -> set[str]:
    """Names of parameters that a gradient would reach only through the secured part.

    A head that is tied to open embeddings is among them: half of its gradient would be missing.
    """
    if not through.segments and not through.modules:
        return set()
    inside, after = layer_parameters(model), parameters_after_layers(model)
    path, _ = decoder_layers(model)
    number = {f"{path}.{index}.": index for index in range(len(inside))}
    lone = [index for start, index in number.items() for one in through.modules if f"{one}.".startswith(start)]
    last = max([segment.last for segment in through.segments] + lone, default=-1)
    if any(not f"{one}.".startswith(tuple(number)) and one != through.head for one in through.modules):
        last = max(last, 0)
    names = {name for own in inside[: last + 1] for name in own}
    before = {name for name, _ in model.named_parameters()} - after - {name for own in inside for name in own}
    return names | before if last >= 0 else set()


def put_layers(model: PreTrainedModel, link: Link, through: Doors, form) -> None:
    """Empty the secured layers: the first of a segment asks, the others hand on."""
    _, layers = decoder_layers(model)
    for door, segment in enumerate(through.segments):
        for index in range(segment.first, segment.last + 1):
            forget(layers[index])
            layers[index].forward = pass_on(form, index)
        layers[segment.first].forward = SegmentCall(link, door, segment, form)


def put_modules(model: PreTrainedModel, link: Link, through: Doors) -> None:
    """Put what asks, or what only has the right shape, in place of other secured modules."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    stands = {path: Through(link, model.get_submodule(path)) for path in through.after}
    for path in through.before:
        stands[path] = Blank(link, model.get_submodule(path))
        stands[path].tokens = model.get_submodule(path) is embeddings
    for number, path in enumerate(through.modules):
        stands[path] = Lone(link, model.get_submodule(path), number)
    if through.to_logits:
        stands[through.head] = Head(link, head)
    if head.weight is embeddings.weight and through.head in stands:  # tied, as model/structure.py sees it
        other = next((path for path in stands if model.get_submodule(path) is embeddings), None)
        if other is not None:
            stands[through.head].weight = stands[other].weight
    for path, stand in stands.items():
        model.set_submodule(path, stand)


def fill_open(model: PreTrainedModel, folder: Path, secret: set[str]) -> None:
    """The open tensors in their places. Raises StudyError where one is missing, or one that is secured is there."""
    path = folder / SINGLE
    found = tensors.load(path)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    if there := sorted(secret & set(found)):
        raise StudyError(f"{path}: {there[0]} is secured, and lies there all the same; do not use this folder")
    if other := sorted(set(found) ^ (set(parameters) | (set(buffers) & set(found)))):
        raise StudyError(f"{path}: {other[0]} is not in both file and model; {manifest.AGAIN}")
    for name, tensor in found.items():
        known = parameters.get(name, buffers.get(name))
        if tensor.shape != known.shape or tensor.dtype != known.dtype:
            raise StudyError(f"{path}: {name} has another shape or type than the model's; {manifest.AGAIN}")
    fill(model, {name: found[name].clone() for name in parameters})
    with torch.no_grad():
        for name in set(buffers) & set(found):
            buffers[name].copy_(found[name])
