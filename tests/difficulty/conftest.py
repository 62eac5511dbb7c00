"""States on both sides of the middle two layers of a tiny model, on texts of different lengths."""

import pytest
import torch

from solid_utils.difficulty.both_sides import BothSides, record
from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers
from tests.conftest import VOCABULARY, build

FIRST, LAST = 1, 2  # the secured layers


def texts(count: int = 15) -> list[dict]:
    """Samples without an answer; few different tokens, so that endings come again."""
    stream = torch.Generator().manual_seed(5)
    lengths = torch.randint(6, 14, (count,), generator=stream).tolist()
    return [{"input_ids": torch.randint(1, 9, (length,), generator=stream).tolist()} for length in lengths]


def both_sides(architecture: str = "llama", count: int = 15) -> tuple[DecoderLayers, BothSides, torch.Tensor]:
    """The layers, the states, and the victim's last states."""
    layers = DecoderLayers(build(architecture))
    ids, mask = pad([text["input_ids"] for text in texts(count)], 0)
    states = record(layers, ids, mask, (FIRST - 1, LAST, len(layers) - 1))
    held_out = torch.arange(count) % 5 == 0
    seen = BothSides(ids, mask, states[FIRST - 1], states[LAST], held_out)
    assert ids.max() < VOCABULARY
    return layers, seen, states[len(layers) - 1]


@pytest.fixture
def middle():
    return both_sides()
