"""KL(victim || model with the linear map in place of the secured part), on texts that it was not fitted on.

The map's own outcome as an attack, from fewer texts; here it is asked what it says of other attacks. Not in the paper.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from solid_utils.difficulty.both_sides import BothSides
from solid_utils.model.forward import answer_logits
from solid_utils.model.layers import DecoderLayers

AT_ONCE = 4  # texts whose logits are held at once, of victim and map: 4 x 128 x 49,152 float32 are 100 MB


def logits(layers: DecoderLayers, state: Tensor, last: int, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits (real tokens, vocab) where `state` (texts, tokens, width) leaves layer `last`."""
    with layers.leaving(state.to(layers.model.dtype), last):
        return answer_logits(layers.model, ids, mask, mask.bool())


def pieces(seen: BothSides) -> Iterator[tuple[Tensor, slice]]:
    """Held-out texts a few at a time: their places among all texts, and among the held-out ones."""
    places = seen.held_out.nonzero()[:, 0]
    for start in range(0, len(places), AT_ONCE):
        yield places[start : start + AT_ONCE], slice(start, start + AT_ONCE)


@torch.no_grad()
def map_kl(layers: DecoderLayers, seen: BothSides, guess: Tensor, last: int, final: Tensor) -> float:
    """Mean KL in nats over the held-out texts' real tokens.

    `guess`: the map's states where layer `last` ends, (held-out texts, tokens, width). `final`: the victim's states
    that leave the last layer, of all texts, so that its logits take no more than the head.
    """
    total = 0.0
    tokens = 0
    for places, own in pieces(seen):
        ids = seen.ids[places]
        mask = seen.mask[places]
        theirs = logits(layers, final[places], len(layers) - 1, ids, mask).log_softmax(1, dtype=torch.float32)
        ours = logits(layers, guess[own], last, ids, mask).log_softmax(1, dtype=torch.float32)
        total += (theirs.exp() * (theirs - ours)).sum().item()
        tokens += len(theirs)
    return total / tokens
