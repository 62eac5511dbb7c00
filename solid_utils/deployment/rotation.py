"""A secret rotation of the residual stream: the exported model computes the same, in other coordinates.

Each RMSNorm's gain is first folded into the matrices that read it, after which the norm commutes with any rotation R;
then embeddings and all that writes to the stream are turned by R, and all that reads it by its inverse. (SliceGPT,
Ashkboos et al. 2024, arXiv:2401.15024, section 3.) What leaves the secured layers is turned too, so weights of a public
base no longer fit beside the open part, until R is found: `found`, an orthogonal Procrustes problem (Schoenemann 1966).
"""

from collections.abc import Iterator

import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.model import models
from solid_utils.model.matrices import is_vector, role_of
from solid_utils.model.structure import decoder_layers, ends, is_tied, parameters_after_layers

READS = (("q", "k", "v"), ("gate", "up"))  # after the first and the second norm of a layer
WRITES = ("o", "down")
PROBE = 5  # tokens on which an export is held against its model
ALIKE = 1e-3  # of the largest logit; a model that is not covered here is off by about all of it


def drawn(width: int, seed: int) -> Tensor:
    """A rotation drawn uniformly, (width, width), float64: Q of a Gaussian matrix, by the signs of R's diagonal."""
    normal = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rotation, upper = torch.linalg.qr(normal)
    return rotation * upper.diagonal().sign()


def exported(model: PreTrainedModel, rotation: Tensor | None = None) -> PreTrainedModel:
    """The same function with gains folded, the head untied, and the residual stream turned by `rotation` if given.

    rotation: (width, width), orthogonal. Raises StudyError where the twin does not compute the same, as in models
    whose norms take a mean away, or have other norms than two a layer and one at the end.
    """
    twin = untied(model)
    fold(twin)
    if rotation is not None:
        turn(twin, rotation)
    check(model, twin)
    return twin


def untied(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose head is a tensor of its own: a folded head is no longer the embeddings."""
    twin = models.clone(model)
    if is_tied(twin):
        head = twin.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        twin.config.tie_word_embeddings = twin.config.get_text_config().tie_word_embeddings = False
    return twin


@torch.no_grad()
def fold(model: PreTrainedModel) -> None:
    """Every norm's gain into the matrices that read it, in place; the gains become one."""
    for gain, matrices in readers(model):
        for matrix in matrices:
            matrix.copy_((matrix.double() * gain.double()).to(matrix.dtype))
        gain.fill_(1)


@torch.no_grad()
def turn(model: PreTrainedModel, rotation: Tensor) -> None:
    """The residual stream by `rotation`, in place, in float64; a state s, a row, becomes s R."""
    for matrix in [model.get_input_embeddings().weight, *(one for _, own in readers(model) for one in own)]:
        matrix.copy_((matrix.double() @ rotation).to(matrix.dtype))
    for layer in decoder_layers(model)[1]:
        for name, parameter in layer.named_parameters():
            if role_of(name) in WRITES:
                parameter.copy_((rotation.T @ parameter.double()).to(parameter.dtype))  # a bias (width,) too


def readers(model: PreTrainedModel) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Each norm's gain (width,) with the matrices (outputs, width) that read it. StudyError as `exported`."""
    width = model.config.get_text_config().hidden_size
    for layer in decoder_layers(model)[1]:
        own = dict(layer.named_parameters())
        gains = [one for name, one in own.items() if one.shape == (width,) and role_of(name) is None]
        if len(gains) != len(READS):
            raise unlike(model, f"{len(gains)} gains of a norm in a layer, not two")
        for gain, roles in zip(gains, READS, strict=True):
            yield gain, [one for name, one in own.items() if role_of(name) in roles and not is_vector(name, one.shape)]
    after = parameters_after_layers(model) - ends(model, "head")
    if len(after) != 1:
        raise unlike(model, f"{len(after)} parameters between the last layer and the head, not one gain")
    yield model.get_parameter(after.pop()), [model.get_output_embeddings().weight]


@torch.no_grad()
def check(model: PreTrainedModel, twin: PreTrainedModel) -> None:
    """Raise StudyError where the twin's logits are not the model's."""
    ids = torch.arange(PROBE, device=model.device)[None]
    theirs, own = (one(input_ids=ids, use_cache=False).logits.double() for one in (model, twin))
    off = (own - theirs).abs().max() / theirs.abs().max()
    if not off < ALIKE:
        raise unlike(model, f"its logits change by {off:.1%}")


def unlike(model: nn.Module, why: str) -> StudyError:
    return StudyError(f"rotation: {type(model).__name__}: {why}; export it as it is, or choose a model with RMSNorms")


@torch.no_grad()
def found(base: PreTrainedModel, export: PreTrainedModel, secret: set[str]) -> Tensor:
    """The rotation (width, width) that takes a public base to an exported model, from what is open in both.

    base: as `exported` without a rotation. secret: names that the thief does not see. The least-squares answer over
    embeddings, and the rows of all matrices that read the residual stream. Raises StudyError where nothing is open.
    """
    names = {id(parameter): name for name, parameter in export.named_parameters()}
    pairs = zip(streams(base), streams(export), strict=True)
    crossed = [own.double().T @ theirs.double() for own, theirs in pairs if names[id(theirs)] not in secret]
    if not crossed:
        raise StudyError("rotation: all that reads the residual stream is secret; nothing to find it from")
    # min |A R - B| has the answer of min |R - A'B|: products of width by width instead of all rows.
    width = crossed[0].shape[0]
    rotation, _ = orthogonal_procrustes(torch.eye(width, dtype=torch.float64).numpy(), sum(crossed).numpy())
    return torch.from_numpy(rotation)


def streams(model: PreTrainedModel) -> list[Tensor]:
    """Matrices whose rows lie in the residual stream, (rows, width) each."""
    return [model.get_input_embeddings().weight, *(one for _, own in readers(model) for one in own)]


def with_secrets_of(export: PreTrainedModel, base: PreTrainedModel, secret: set[str]) -> PreTrainedModel:
    """What a thief builds who puts a public base's tensors in place of the secret ones of an exported model."""
    replica = models.clone(export)
    theirs = dict(base.named_parameters())
    with torch.no_grad():
        for name, parameter in replica.named_parameters():
            if name in secret:
                parameter.copy_(theirs[name])
    return replica
