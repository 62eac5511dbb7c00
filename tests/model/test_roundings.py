"""Head and embeddings that are two roundings of one matrix become one; others stay two."""

import pytest
import torch

from solid_utils.model import roundings
from solid_utils.model.structure import is_tied


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """To so many bits, by the largest of each row, as quantised files do by blocks."""
    step = weight.abs().amax(1, keepdim=True) / 2 ** (bits - 1)
    return (weight / step).round() * step


@pytest.mark.parametrize("bits", [5, 6, 8])
def test_two_roundings_are_tied_and_the_heads_is_kept(llama, bits):
    whole = llama.get_output_embeddings().weight.detach().clone()
    llama.get_input_embeddings().weight.data = rounded(whole, bits)
    count = llama.num_parameters()
    said = roundings.tie(llama)
    assert "two roundings of one matrix" in said and is_tied(llama)
    assert torch.equal(llama.get_input_embeddings().weight, whole)
    assert llama.num_parameters() == count - whole.numel()
    assert roundings.tie(llama) == "", "tied already"


def test_two_matrices_stay_two(llama):
    assert roundings.tie(llama) == "" and not is_tied(llama)
    llama.get_input_embeddings().weight.data = llama.get_output_embeddings().weight.detach() * 1.2
    assert roundings.tie(llama) == "", "a scaled head is no rounding"
    llama.get_output_embeddings().weight.data.zero_()
    assert roundings.tie(llama) == ""


def test_the_distance_in_pieces_is_the_distance(monkeypatch):
    left, right = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(roundings, "ROWS", 8)
    assert roundings.distance(left, right) == pytest.approx(((left - right).norm() / left.norm()).item(), rel=1e-6)
