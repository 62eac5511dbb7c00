"""What a secured set costs: secure memory, work and traffic across the boundary, counted, not timed.

The traffic counts one token of one forward (and one backward, where the customer fine-tunes the open part with LoRA);
states of earlier tokens (keys and values) stay where they were made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.matrices import is_stack, is_vector
from solid_utils.model.structure import ends, layer_parameters, parameters_after_layers

TOKEN_ID_BYTES = 8  # int64


@dataclass(frozen=True)
class Cost:
    """The cost of one secured set of one model."""

    secure_memory: int  # bytes of the secret parameters
    flops_per_token: int  # of one forward inside the secure part
    bytes_forward: int  # a token, in and out of the secure part
    bytes_backward: int  # a token, gradients in and out, when the open part is trained


def cost(model: nn.Module, chosen: SecuredSet, dtype_bytes: int = 2) -> Cost:
    """Count what securing `chosen` costs, with weights, states and logits of `dtype_bytes` bytes a scalar.

    - secure_memory: the secret parameters; no keys and values, no working memory.
    - flops_per_token: 2 x the scalars of the secret matrices that multiply. Embedding tables are looked up and cost
      nothing, unless they are the (tied) head too. Of stacked experts the active ones count when the configuration
      says how many (num_experts_per_tok), else all. Attention scores and norms are left out.
    - bytes_forward: what enters and leaves each secret piece, see `crossings`.
    - bytes_backward: the same again, as gradients, for every piece with open decoder parameters below it: only through
      those pieces must a gradient travel. So the bottom layers, and a fully secured model, need none.
    """
    crossed = list(crossings(model, chosen))
    return Cost(
        secure_memory=chosen.parameters * dtype_bytes,
        flops_per_token=2 * multiplied(model, chosen),
        bytes_forward=sum(scalars * dtype_bytes + ids * TOKEN_ID_BYTES for scalars, ids, _ in crossed),
        bytes_backward=sum(scalars * dtype_bytes for scalars, _, open_below in crossed if open_below),
    )


def crossings(model: nn.Module, chosen: SecuredSet) -> Iterator[tuple[int, int, bool]]:
    """(scalars, token ids, open decoder parameters below?) a token that enter and leave each secret piece.

    - A run of wholly secret layers: a hidden state in, one out. Token ids come in instead when the run starts at layer
      0 and all before it (the embeddings) is secret; logits go out instead when it ends at the last layer and all
      after it (final norm and head) is secret.
    - A secret matrix in a layer that is not wholly secret: its input in, its output out, each matrix on its own (q, k
      and v take the same state three times: an upper bound). Active experts count as matrices.
    - Embeddings or a head that belong to no run: ids in and a state out; a state in and logits out.

    "Below" is in lower layers; for a single matrix also an open matrix before it in its own layer, in the model's order
    (k after an open q counts, an upper bound too).
    """
    secret, inside = set(chosen.names), layer_parameters(model)
    width, depth = model.config.get_text_config().hidden_size, len(inside)
    (_, table_width), (vocabulary, head_width) = (module.weight.shape for module in tables(model))
    lowest_open = next((number for number in range(depth) if number not in chosen.layers), depth)
    head, after = ends(model, "head"), parameters_after_layers(model)
    before = {name for name, _ in model.named_parameters()} - after - {name for own in inside for name in own}
    ids_in = before <= secret and 0 in chosen.layers
    logits_out = after | head <= secret and depth - 1 in chosen.layers

    for _, group in groupby(enumerate(chosen.layers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        from_ids, to_logits = ids_in and run[0] == 0, logits_out and run[-1] == depth - 1
        scalars = (0 if from_ids else width) + (vocabulary if to_logits else width)
        yield scalars, int(from_ids), lowest_open < run[0]
    for number in sorted(set(range(depth)) - set(chosen.layers)):
        yield from matrix_crossings(model, inside[number], secret, lowest_open < number)
    if ends(model, "embeddings") <= secret and not ids_in:
        yield table_width, 1, False
    if head <= secret and not logits_out:
        yield head_width + vocabulary, 0, lowest_open < depth


def matrix_crossings(
    model: nn.Module, inside: list[str], secret: set[str], open_below: bool
) -> Iterator[tuple[int, int, bool]]:
    """`crossings` of the secret matrices of one layer that is not wholly secret."""
    for name in inside:
        shape = model.get_parameter(name).shape
        if is_vector(name, shape):
            continue
        if name in secret:
            yield active(model, shape) * (shape[-1] + shape[-2]), 0, open_below
        else:
            open_below = True


def multiplied(model: nn.Module, chosen: SecuredSet) -> int:
    """Scalars of the secret matrices that one token is multiplied with."""
    head, names = tables(model)[1].weight, set(chosen.names)
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    looked_up = {id(module.weight) for module in embeddings} - {id(head)}
    matrices = {name: parameter for name, parameter in model.named_parameters() if name in names}
    return sum(
        active(model, matrix.shape) * matrix.shape[-1] * matrix.shape[-2]
        for name, matrix in matrices.items()
        if not is_vector(name, matrix.shape) and id(matrix) not in looked_up
    )


def active(model: nn.Module, shape: tuple[int, ...]) -> int:
    """How many matrices of this parameter one token meets: the active experts of a stack, 1 of a plain matrix."""
    if not is_stack(shape):
        return 1
    return min(shape[0], getattr(model.config.get_text_config(), "num_experts_per_tok", None) or shape[0])


def tables(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Embeddings and head; their weights are (vocabulary, width), and one tensor where they are tied."""
    return model.get_input_embeddings(), model.get_output_embeddings()
