"""A smaller replacement network: fewer decoder layers than are secured, the others hand their input on."""

from dataclasses import replace

from torch import nn
from transformers import PreTrainedModel

from solid_utils.attacks.linear_map import Through, without_caches
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.structure import layer_parameters


def kept(model: nn.Module, secured: SecuredSet, layers: int) -> SecuredSet:
    """The first `layers` secured layers, as a set of their own: what is left of the replacement.

    Raises StudyError where they are not fewer than the secured ones, or more than whole layers is secret.
    """
    if not secured.only_layers or layers >= len(secured.layers):
        raise StudyError(
            f"replacement: {layers} layers in place of '{secured.declaration}'; secure whole decoder layers only, and "
            "more of them than replace them"
        )
    inside, sizes = layer_parameters(model), {name: one.numel() for name, one in model.named_parameters()}
    names = tuple(name for number in secured.layers[:layers] for name in inside[number])
    return replace(secured, names=names, layers=secured.layers[:layers], parameters=sum(sizes[name] for name in names))


def shrink(model: PreTrainedModel, secured: SecuredSet, left: SecuredSet) -> None:
    """Drop the secured layers that are not `left`: what enters one leaves it."""
    layers = DecoderLayers(model)
    for number in set(secured.layers) - set(left.layers):
        layers.layers[number] = Through(layers.form)
    without_caches(model)  # a dropped layer fills none, and masks are cut to those of the first
