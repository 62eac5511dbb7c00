"""What a deployment costs: memory and FLOPs inside the secure world, bytes across its door; counted from shapes.

Bytes are those of whole frames, as the client's link counts them too (Link.crossed); FLOPs are products of matrices and
of attention, 2 a multiplication and addition, as torch's own counter has them. No time is in here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.structure import decoder_layers
from solid_utils.runtime import frames
from solid_utils.runtime.doors import Doors, Segment, doors
from solid_utils.runtime.frames import Kind

WORKS = ("decode", "prefill", "fine-tuning")


@dataclass(frozen=True)
class Asked:
    """The texts of one piece of work."""

    rows: int  # of a batch
    tokens: int  # of a text; of decode: those that are there before the step


def costs(model: PreTrainedModel, secured: SecuredSet, asked: Asked, gradients: bool = False) -> list[dict]:
    """A row for each of WORKS. `gradients`: fine-tuning also trains what lies below, through the secured part.

    decode: one step of a text; prefill and fine-tuning: whole texts, without key-value caches. All but memory are a
    token's. Raises StudyError where a secured module is a door of its own.
    """
    through = doors(model, secured.names)
    if through.modules:
        raise StudyError(
            f"cost: {through.modules[0]} is a door of its own, which is no deployment; secure whole layers"
        )
    names = set(secured.names)
    held = sum(one.nbytes for name, one in model.named_parameters() if name in names)
    memory = {"secret_bytes": held, "cache_bytes": cache_bytes(model, through)}
    rows = []
    for work in WORKS:
        one = Asked(1, asked.tokens) if work == "decode" else asked
        tokens = 1 if work == "decode" else one.rows * one.tokens
        pulled = work == "fine-tuning" and gradients
        sent, received = crossing(model, through, work, one, pulled)
        rows.append(
            {"work": work, "rows": one.rows, "context": one.tokens}
            | memory
            | {
                "flops_inside": inside(model, through, work, one, pulled) / tokens,
                "sent": sent / tokens,
                "received": received / tokens,
            }
        )
    return rows


def cache_bytes(model: PreTrainedModel, through: Doors) -> int:
    """Of keys and values inside, a token of a text."""
    heads, size = key_heads(model)
    layers = sum(one.last - one.first + 1 for one in through.segments)
    return layers * 2 * heads * size * model.dtype.itemsize


def key_heads(model: PreTrainedModel) -> tuple[int, int]:
    """Heads of keys and values, and the width of one."""
    config = model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads, size


# FLOPs ----------------------------------------------------------------------------------------------------------------


def inside(model: PreTrainedModel, through: Doors, work: str, asked: Asked, pulled: bool) -> int:
    """FLOPs of the secure world for one step of decode, or for a batch."""
    step = work == "decode"
    queries = 1 if step else asked.rows * asked.tokens
    keys = asked.tokens + step  # what a query looks at; masked ones are multiplied all the same
    _, layers = decoder_layers(model)
    # Through a gradient: the forward, again for it, and backward to the states, where each of attention's two products
    # has two factors.
    times, looked = (3, 4) if pulled else (1, 1)
    total = 0
    for segment in through.segments:
        for layer in list(layers[segment.first : segment.last + 1]):
            total += times * 2 * queries * matrices(layer) + looked * queries * keys * attention(model)
        if segment.to_logits:
            total += 2 * queries * model.get_output_embeddings().weight.numel()
    return total


def matrices(layer: nn.Module) -> int:
    """Scalars of a layer that each token is multiplied by."""
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim > 1)


def attention(model: PreTrainedModel) -> int:
    """FLOPs of one query and one key in one layer: their product, and the value's share."""
    _, size = key_heads(model)
    return 4 * model.config.get_text_config().num_attention_heads * size


# Bytes ----------------------------------------------------------------------------------------------------------------


def crossing(model: PreTrainedModel, through: Doors, work: str, asked: Asked, pulled: bool) -> tuple[int, int]:
    """Bytes to the secure world and back, of one step of decode (as `generate` sends it), or of a batch."""
    sent = received = 0
    for segment in through.segments:
        request, answer = run(model, segment, asked, work == "decode")
        sent += packed(request)
        received += packed(answer)
        if segment.to_logits:
            places = asked.rows * (1 if work == "decode" else asked.tokens)
            vocabulary = model.config.get_text_config().vocab_size
            sent += packed({"numbers": whole(1), "places": whole(places)})
            received += packed({"logits": torch.empty(places, vocabulary, dtype=model.dtype)})
        elif pulled and not segment.from_ids:
            sent += packed(request | {"gradient": answer["state"]})
            received += packed({"gradient": answer["state"]})
    return sent, received


def run(model: PreTrainedModel, segment: Segment, asked: Asked, step: bool) -> tuple[dict, dict]:
    """The tensors of a question to a segment, and of its answer."""
    tokens = 1 if step else asked.tokens
    state = torch.empty(asked.rows, tokens, model.config.get_text_config().hidden_size, dtype=model.dtype)
    request = {"numbers": whole(3)}
    request |= {"ids": whole(asked.rows, tokens)} if segment.from_ids else {"state": state}
    answer = {"call": whole(1)} if segment.to_logits else {"state": state}
    if step:
        request["mask"] = torch.empty(asked.rows, asked.tokens + 1, dtype=torch.bool)
        request |= {"positions": whole(asked.rows, 1), "rows": whole(asked.rows)}
        answer["rows"] = whole(asked.rows)
    return request, answer


def whole(*shape: int) -> Tensor:
    """Whole numbers."""
    return torch.empty(*shape, dtype=torch.int64)


def packed(tensors: dict[str, Tensor]) -> int:
    """Bytes of a frame."""
    return len(frames.pack(Kind.RUN, frames.NO_SESSION, 0, tensors))
