"""Rounding noisy weights to the grid of a known quantisation: the grid against llama.cpp's own code, gain, refusals."""

import sys

import pytest
import torch
from gguf import GGMLQuantizationType, quants
from transformers import LlamaConfig, LlamaForCausalLM

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.grid import exactness, snapping
from tests.difficulty.conftest import texts

KIND = GGMLQuantizationType.Q4_1


def quantised(weight: torch.Tensor) -> torch.Tensor:
    """The weight as llama.cpp's format keeps it, by the library that reads such files."""
    kept = quants.dequantize(quants.quantize(weight.numpy(), KIND), KIND)
    return torch.from_numpy(kept.reshape(weight.shape).copy())


def model(on_grid: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in made.model.layers.parameters():
            if on_grid and parameter.ndim > 1:
                parameter.copy_(quantised(parameter.detach()))
    return made


def test_a_quantised_weight_is_on_its_own_grid():
    weight = quantised(torch.randn(8, 96, generator=torch.Generator().manual_seed(3)))
    level, near = snapping.levels(weight)
    assert torch.allclose(near, weight, atol=2e-3) and sorted(set(level.flatten().tolist())) == list(range(16))
    packed = quants.quantize(weight.numpy(), KIND).reshape(-1, 20)[:, 4:]  # behind step and least value
    theirs = torch.cat([torch.from_numpy(packed & 15), torch.from_numpy(packed >> 4)], dim=1)
    assert torch.equal(level, theirs.double())


def test_a_block_of_equal_weights_stays():
    weight = torch.full((1, 64), 0.25)
    level, near = snapping.levels(weight)
    assert torch.equal(near, weight) and not level.any()


def test_little_noise_is_rounded_away_and_much_is_not():
    victim = model()
    secured = secured_set(victim, "layers 0")
    little, much = (exactness.noisy(victim, secured, size, 20) for size in (0.01, 0.5))
    found = snapping.snapped(little, victim, secured)
    assert found["levels_right"] == 1 and found["snapped_weight_error"] < 0.5 * found["weight_error"]
    assert found["weight_error"] == pytest.approx(0.01, rel=0.1)
    apart = [
        (own - theirs).square().mean().sqrt() / theirs.std()
        for (name, own), theirs in zip(little.named_parameters(), victim.parameters(), strict=True)
        if name in secured.names and own.ndim > 1
    ]
    assert 0 < max(apart) < 0.01, "the replica itself is rounded"
    lost = snapping.snapped(much, victim, secured)
    assert lost["levels_right"] < 0.5 and lost["snapped_weight_error"] > 0.9 * lost["weight_error"]


@pytest.mark.parametrize("name", ["plain", "narrow"])
def test_a_victim_on_no_such_grid_is_one_line(name, llama):
    victim = model(on_grid=False) if name == "plain" else llama
    secured = secured_set(victim, "layers 0")
    with pytest.raises(StudyError, match="on no grid of Q4_1; name a model"):
        snapping.snapped(exactness.noisy(victim, secured, 0.01, 20), victim, secured)


def test_the_file_has_a_row_a_size_and_is_written_once(tokenizer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(snapping.models, "load_victim", lambda *_: (model(), tokenizer, "0123456789ab"))
    monkeypatch.setattr(snapping.sampling, "samples", lambda *_: texts(4))
    monkeypatch.setattr(snapping.shared.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(snapping, "SIZES", (0.5, 0.01))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["snapping", "smollm2-135m"])
    snapping.main()
    (path,) = tmp_path.glob(f"*/scale/smollm2-135m/{paths.SNAPPING_FILE}")
    table = schema.read(path, schema.SNAPPING).set_index("noise")
    gain = table["snapped_state_error"] / table["state_error"]
    assert gain[0.01] < 0.6 < gain[0.5] and (table["dtype"] == "float32").all()
    assert path.name in paths.NO_CELLS
    written = path.read_bytes()
    snapping.main()
    assert path.read_bytes() == written and "delete it to compute it again" in capsys.readouterr().out
