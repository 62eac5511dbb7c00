"""States of a few texts on both sides of a secured part: what every score of a secured set without training reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from solid_utils.model import ridge_map
from solid_utils.model.layers import DecoderLayers, hidden

AT_ONCE = 16  # texts a forward
GIANT = 3.0  # times the median length: such states begin at 5 in the middle of a model, ordinary ones end at 2.8


@dataclass(frozen=True)
class BothSides:
    """Texts, right-padded, and their states; the victim's own, as the open layers below are the victim's too."""

    ids: Tensor  # (texts, tokens)
    mask: Tensor  # (texts, tokens), 1 on real tokens
    entering: Tensor  # (texts, tokens, width), float32: what enters the secured part
    leaving: Tensor  # (texts, tokens, width), float32: what leaves it
    held_out: Tensor  # bool (texts,): what a score is taken on; the other texts are fitted on

    @cached_property
    def ordinary(self) -> Tensor:
        """Bool (texts, tokens): real tokens but a text's first, and but those whose state is as giant as a first one's.

        A first token's state is 9 to 150 times as long as the others and would rule a mean. Some texts have theirs
        elsewhere: behind four layers of a victim 2 % of the other tokens carried two thirds of the variance.
        """
        real = self.mask.bool()
        later = real & (real.cumsum(1) > 1)
        for states in (self.entering, self.leaving):
            lengths = states.norm(dim=-1)
            later = later & (lengths <= GIANT * lengths[later].median())
        return later

    @property
    def fitted(self) -> Tensor:
        """Bool (texts,): the other texts."""
        return ~self.held_out

    @property
    def choosing(self) -> Tensor:
        """Bool (texts,): every ninth fitted text, which chooses penalties before all fitted texts count."""
        places = self.fitted.nonzero()[:, 0]
        apart = torch.zeros_like(self.fitted)
        apart[places[:: ridge_map.HELD_OUT]] = True
        return apart


@torch.no_grad()
def record(layers: DecoderLayers, ids: Tensor, mask: Tensor, places: Iterable[int]) -> dict[int, Tensor]:
    """States (texts, tokens, width), float32, that leave these layers; -1 is what enters layer 0.

    One forward a batch of texts, up to the highest of `places` and no further.
    """
    wanted = sorted(set(places))
    kept: dict[int, list[Tensor]] = {place: [] for place in wanted}

    def keep(place: int):
        return lambda _module, _inputs, output: kept[place].append(hidden(output).float())

    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        if -1 in kept:
            with layers.replaced({0: layers.skip}):
                kept[-1].append(layers.boundary(part, 0).float())  # a skipped layer hands on what enters it
        hooks = [layers.layers[place].register_forward_hook(keep(place)) for place in wanted[:-1] if place >= 0]
        try:
            if wanted[-1] >= 0:
                kept[wanted[-1]].append(layers.boundary(part, wanted[-1]).float())
        finally:
            for hook in hooks:
                hook.remove()
    return {place: torch.cat(states) for place, states in kept.items()}
