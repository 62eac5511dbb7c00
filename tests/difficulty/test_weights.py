"""A checkpoint that is streamed is as whole as one in memory: the same refusals, and before a layer is read."""

import re

import pytest
import torch
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from solid_utils.core.errors import StudyError
from solid_utils.difficulty.weights import Streamed
from solid_utils.model import tensors
from tests.cases import checkpoints as cases
from tests.conftest import ENDS, GATED, build

CPU = torch.device("cpu")


def read(folder) -> Streamed:
    """Opened, and every layer read."""
    source = Streamed(folder, torch.float32, CPU)
    for index in range(len(source.layers)):
        source.layer(index)
    return source


def refusal(folder) -> str:
    with pytest.raises(StudyError) as caught:
        read(folder)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", cases.BROKEN)
def test_a_broken_folder_is_refused_in_one_line(case, tmp_path):
    breaker, says = cases.BROKEN[case]
    cases.healthy(tmp_path)
    breaker(tmp_path)
    line = refusal(tmp_path)
    assert re.search(says, line), line


@pytest.mark.parametrize("case", cases.BROKEN_SHARDS)
def test_broken_shards_are_refused_in_one_line(case, tmp_path):
    breaker, says = cases.BROKEN_SHARDS[case]
    cases.healthy(tmp_path, shards=True)
    breaker(tmp_path)
    line = refusal(tmp_path)
    assert re.search(says, line), line


@pytest.mark.parametrize("case", cases.HEALTHY)
def test_odd_and_healthy_ones_are_read_as_transformers_reads_them(case, tmp_path):
    model = cases.healthy(tmp_path)
    cases.HEALTHY[case](tmp_path)
    source = read(tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.allclose(source.read(name).float(), parameter, atol=1e-3), name


def test_what_is_known_from_headers_is_refused_before_a_tensor_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors.Stored, "get_tensor", lambda *_: pytest.fail("a tensor was read"))
    for case in ("no matrix", "one more", "integers", "other shape", "deeper"):
        cases.healthy(tmp_path / case)
        cases.BROKEN[case][0](tmp_path / case)
        refusal(tmp_path / case)


def test_a_file_is_not_read_twice_to_be_checked(tmp_path, monkeypatch):
    counted, model = [], cases.healthy(tmp_path)
    digest = tensors.digest
    monkeypatch.setattr(tensors, "digest", lambda tensor: counted.append(1) or digest(tensor))
    source = read(tmp_path)
    read_again = [source.layer(index) for index in (0, 1)]
    assert read_again and len(counted) == len(list(model.parameters()))
    tensors.fingerprint(source.opened)
    assert len(counted) == len(list(model.parameters()))


def test_buffers_that_are_stored_are_read(tmp_path):
    """Gemma 4 keeps a scalar a layer in one; made anew, all would be 1."""
    shape = {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "tie_word_embeddings": False}
    model = Gemma4ForCausalLM(Gemma4TextConfig(**GATED, **ENDS, **shape, global_head_dim=8))
    for number, layer in enumerate(model.model.layers):
        layer.layer_scalar.fill_(number + 2)
    model.save_pretrained(tmp_path)
    source = read(tmp_path)
    assert [source.layer(index).layer_scalar.item() for index in range(4)] == [2, 3, 4, 5]


def test_a_head_that_differs_from_the_embeddings_it_is_tied_to(tmp_path):
    model = build("llama-tied")
    model.save_pretrained(tmp_path)
    read(tmp_path)
    head = model.get_input_embeddings().weight.detach() + 1
    cases.change(lambda found: found.update({cases.HEAD: head}))(tmp_path)
    assert "differ, the configuration says they are one" in refusal(tmp_path)


def test_a_damaged_layer_of_the_studys_own_is_refused_as_it_is_read(tmp_path):
    cases.healthy(tmp_path)
    path = tmp_path / cases.WEIGHTS
    found = {name: tensor.clone() for name, tensor in tensors.load(path).items()}
    tensors.save(found, path)
    whole = path.read_bytes()
    start = whole.index(found[cases.MATRIX].numpy().tobytes())
    path.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
    assert f"{cases.MATRIX} is not what was written" in refusal(tmp_path)


def test_a_quantised_checkpoint_is_not_streamed(tmp_path):
    model = cases.healthy(tmp_path)
    cases.quantised("fp8", activation_scheme="dynamic", weight_block_size=[8, 8])(tmp_path)
    assert torch.equal(read(tmp_path).read(cases.MATRIX), model.get_parameter(cases.MATRIX))  # in name alone
    cases.change(cases.to_fp8)(tmp_path)
    assert "quantised with fp8, so it cannot be read layer by layer; load it whole" in refusal(tmp_path)


def test_a_gguf_file_is_not_streamed(tmp_path, tokenizer):
    cases.gguf(tmp_path / "mine.gguf", tokenizer)
    assert "a GGUF file cannot be read layer by layer; load it whole" in refusal(tmp_path / "mine.gguf")
