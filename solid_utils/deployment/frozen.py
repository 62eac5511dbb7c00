"""Is what a deployment secures out of a customer's reach? A check of any model, plain or wrapped by peft.

    before = frozen(model, secured)             # before the first step
    ...                                         # training, of whatever kind
    frozen(model, secured, before)              # after the last one

peft has no such check: a layer list that is empty means all layers to it, and modules_to_save trains whole copies.
"""

from torch import Tensor, nn

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model import accelerator, tensors
from solid_utils.model.structure import decoder_layers

WRAPPERS = ("base_layer", "original_module")  # what peft calls the module that it puts an adapter or a copy beside


def frozen(model: nn.Module, secured: SecuredSet, before: dict[str, str] | None = None) -> dict[str, str]:
    """sha256 of every secured tensor by its name in the victim, after the check that nothing trains one.

    Raises StudyError, which names the tensor, where a secured tensor is missing, is trained, has an adapter or a
    trained copy beside it (under whatever name: tied tensors are one), or is not what it was `before`.
    """
    found = secured_tensors(model, secured)
    for name, tensor in found.items():
        if tensor.requires_grad:
            raise StudyError(f"{name}: secured by '{secured.declaration}' and trained; train open parameters only")
    beside = adapted(model)
    for name, tensor in found.items():
        if id(tensor) in beside:
            raise StudyError(
                f"{name}: secured by '{secured.declaration}', and {beside[id(tensor)]} stands beside it; "
                "adapt open modules only"
            )
    if inside := trained_inside(model, secured):
        raise StudyError(
            f"{inside}: trained inside a layer that '{secured.declaration}' secures; adapt open modules only"
        )
    digests = {name: tensors.digest(accelerator.whole(tensor.detach()).cpu()) for name, tensor in found.items()}
    if before is not None:
        for name in [*before, *digests]:
            if before.get(name) != digests.get(name):
                raise StudyError(
                    f"{name}: secured by '{secured.declaration}', and its sha256 is not what it was before training; "
                    "train open parameters only"
                )
    return digests


def secured_tensors(model: nn.Module, secured: SecuredSet) -> dict[str, Tensor]:
    """The secured tensors by their names in the victim. Raises StudyError where the model lacks one."""
    prefix = own_prefix(model)
    own = {plain_name(name, prefix): tensor for name, tensor in model.named_parameters(remove_duplicate=False)}
    if missing := [name for name in secured.names if name not in own]:
        raise StudyError(
            f"{missing[0]}: secured by '{secured.declaration}', and no parameter of this {type(model).__name__}; "
            "give the model that the secured set was made for"
        )
    return {name: own[name] for name in secured.names}


def own_prefix(model: nn.Module) -> str:
    """Of the victim's names in a model that peft wrapped, "base_model.model." mostly; empty for a plain one."""
    if not hasattr(model, "get_base_model"):
        return ""
    plain = model.get_base_model()  # of prompt learning the base_model itself: found by identity, not by a fixed name
    return next(f"{name}." for name, module in model.named_modules() if module is plain)


def plain_name(name: str, prefix: str) -> str:
    """A parameter's name in the model that peft wrapped, whose names begin with `prefix` there."""
    parts = name.removeprefix(prefix).split(".")
    return ".".join(part for part in parts if part not in WRAPPERS)


def trained_inside(model: nn.Module, secured: SecuredSet) -> str:
    """A trained parameter, the victim's or not, inside a wholly secured layer; empty where there is none."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    path = decoder_layers(plain)[0]
    layers = tuple(f"{path}.{number}." for number in secured.layers)
    trained = (name for name, one in model.named_parameters() if one.requires_grad)
    prefix = own_prefix(model)
    return next((name for name in trained if plain_name(name, prefix).startswith(layers)), "")


def adapted(model: nn.Module) -> dict[int, str]:
    """What peft stands beside, by the identity of the tensor: the name of a parameter of the adapter or the copy."""
    beside = {}
    for path, module in model.named_modules():
        wrapped = [getattr(module, name, None) for name in WRAPPERS]
        inner = next((one for one in wrapped if isinstance(one, nn.Module)), None)
        if inner is None:
            continue
        own = {id(tensor) for tensor in inner.parameters()}
        added = [name for name, tensor in module.named_parameters() if id(tensor) not in own]
        if not added:
            continue
        for tensor in covered(module, inner):
            beside.setdefault(id(tensor), f"{path}.{added[0]}")
    return beside


def covered(module: nn.Module, inner: nn.Module) -> list[Tensor]:
    """The tensors that an adapter changes: one of several where it names it, else all of the wrapped module's."""
    if name := getattr(module, "parameter_name", None):  # an adapter on one parameter of a module: stacked experts
        while isinstance(getattr(inner, "base_layer", None), nn.Module):
            inner = inner.base_layer
        return [inner.get_parameter(name)]
    return list(inner.parameters())
