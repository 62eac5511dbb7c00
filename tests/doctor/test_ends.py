"""Ends are counted from shapes: the sums are those that the models' makers publish."""

import pytest

from solid_utils.doctor import ends
from solid_utils.doctor.shapes import PUBLISHED

PARAMETERS = {  # as the repositories' safetensors headers sum up
    "SmolLM2-135M": 134_515_008,
    "Qwen2.5-0.5B": 494_032_768,
    "Phi-1.5": 1_418_270_720,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Phi-2": 2_779_683_840,
    "Llama-2-7B": 6_738_415_616,
    "Mistral-7B": 7_241_732_096,
    "Qwen2.5-7B": 7_615_616_512,
    "Llama-3-8B": 8_030_261_248,
    "Llama-2-70B": 68_976_648_192,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_whole_is_what_its_makers_publish(name):
    found = ends.counted(name, ends.SHAPES[name])
    assert found["model_parameters"] == PARAMETERS[name]
    between = found["model_parameters"] - found["embeddings"] - found["head"] - found["layers"] * found["layer"]
    assert 0 < between < 20_000, "what is neither an end nor a layer is the last norm"


def test_a_tied_head_is_no_second_tensor():
    small = ends.counted("small", PUBLISHED["SmolLM2-135M-Instruct.Q4_1.gguf"])
    large = ends.counted("large", ends.SHAPES["Phi-2"])
    assert (small["tied"], small["head"], small["embeddings"]) == (True, 0, 49152 * 576)
    assert (large["tied"], large["head"] - large["embeddings"]) == (False, 51200), "Phi's head has a bias"
