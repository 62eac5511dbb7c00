"""Every checkpoint that is broken is one line; what only looks odd loads; only what Transformers reads is read."""

import os
import re

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from solid_utils.core.errors import StudyError
from solid_utils.model import checkpoint, loading
from tests.cases import checkpoints as cases
from tests.conftest import build, byte_llama


def load(folder):
    return loading.load(checkpoint.find(folder), torch.float32)


def refusal(folder) -> str:
    with pytest.raises(StudyError) as caught:
        load(folder)
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


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("case", cases.HEALTHY)
def test_odd_and_healthy_ones_load(case, shards, tmp_path):
    model = cases.healthy(tmp_path, shards)
    if not shards:
        cases.HEALTHY[case](tmp_path)
    for name, tensor in load(tmp_path).state_dict().items():
        assert torch.allclose(tensor, model.state_dict()[name], atol=1e-3), name


def test_gpt2_with_its_masks_loads(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=16, n_layer=2, n_head=2, n_positions=8)).save_pretrained(tmp_path)
    mask = torch.ones(1, 1, 8, 8).tril()
    cases.change(lambda tensors: tensors.update({"transformer.h.0.attn.bias": mask}))(tmp_path)
    load(tmp_path)


def test_a_tied_head_may_be_missing_or_the_same_but_not_another(tmp_path):
    model = build("llama-tied")
    model.save_pretrained(tmp_path)
    load(tmp_path)  # without a head
    embeddings = model.get_input_embeddings().weight.detach()
    cases.change(lambda tensors: tensors.update({cases.HEAD: embeddings.clone()}))(tmp_path)
    load(tmp_path)
    cases.change(lambda tensors: tensors.pop("model.embed_tokens.weight"))(tmp_path)
    assert torch.equal(load(tmp_path).get_input_embeddings().weight, embeddings)  # the head alone
    cases.change(lambda tensors: tensors.update({"model.embed_tokens.weight": embeddings + 1}))(tmp_path)
    assert "differ, the configuration says they are one; set tie_word_embeddings: false" in refusal(tmp_path)


def test_an_expert_that_is_not_there_is_missed(tmp_path):
    build("mixtral").save_pretrained(tmp_path)
    load(tmp_path)
    for part in ("w1", "w2"):
        build("mixtral").save_pretrained(tmp_path)
        name = f"model.layers.1.block_sparse_moe.experts.2.{part}.weight"
        cases.change(lambda tensors, name=name: tensors.pop(name))(tmp_path)
        line = refusal(tmp_path)
        assert "the tensors that make up model.layers.1.mlp.experts" in line and "numbers, the configuration" in line


def test_a_tensor_under_two_names_is_refused(tmp_path):
    cases.healthy(tmp_path)
    cases.change(lambda tensors: tensors.update({"norm.weight": tensors[cases.NORM].clone()}))(tmp_path)
    assert f"are both {cases.NORM}" in refusal(tmp_path)


def test_what_lies_beside_is_named_and_not_read(tmp_path):
    cases.healthy(tmp_path)
    assert checkpoint.find(tmp_path).note() is None
    cases.HEALTHY["an older copy"](tmp_path)
    (tmp_path / "optimizer.pt").write_bytes(b"of a Trainer")
    found = checkpoint.find(tmp_path)
    assert [path.name for path in found.files] == [cases.WEIGHTS]
    assert found.note() == f"{tmp_path}: read: {cases.WEIGHTS}; not read: older.safetensors"


def test_the_weights_hash_is_of_what_is_read_however_it_is_spread(tmp_path):
    for name, shards in (("one", False), ("many", True), ("odd", False)):
        cases.healthy(tmp_path / name, shards)
    one, many = (checkpoint.find(tmp_path / name).sha256() for name in ("one", "many"))
    cases.HEALTHY["an older copy"](tmp_path / "odd")
    assert one == many == checkpoint.find(tmp_path / "odd").sha256()
    cases.change(lambda tensors: tensors[cases.HEAD][0, 0].add_(1))(tmp_path / "odd")
    assert checkpoint.find(tmp_path / "odd").sha256() != one


def test_an_adapter_is_no_model_and_is_left_out_when_that_is_said(tmp_path):
    model = cases.healthy(tmp_path)
    (tmp_path / checkpoint.ADAPTER).write_text('{"peft_type": "LORA", "base_model_name_or_path": "gone"}')
    assert "lies beside a model's weights" in refusal(tmp_path)
    found = checkpoint.find(tmp_path, ignore_adapter=True)
    loaded = loading.load(found, torch.float32)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert checkpoint.ADAPTER in found.note()
    os.remove(tmp_path / cases.WEIGHTS)
    assert "an adapter and no model; lay it over its base with peft's merge_and_unload" in refusal(tmp_path)


def test_a_quantised_checkpoint_is_dequantised_where_that_can_be(tmp_path):
    model = cases.healthy(tmp_path)
    cases.quantised("fp8", activation_scheme="dynamic", weight_block_size=[8, 8])(tmp_path)
    cases.change(cases.to_fp8)(tmp_path)
    loaded = load(tmp_path)
    assert not hasattr(loaded.config, "quantization_config")
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.allclose(tensor, model.state_dict()[name], rtol=0.1, atol=0.02)


def test_a_gguf_file_is_a_model(tmp_path, tokenizer):
    cases.gguf(tmp_path / "mine.gguf", tokenizer)
    loaded, plain = load(tmp_path / "mine.gguf"), byte_llama(0)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, plain(ids).logits, atol=1e-5)


@pytest.mark.parametrize("case", cases.BROKEN_GGUF)
def test_a_broken_gguf_file_is_refused_in_one_line(case, tmp_path, tokenizer):
    edit, breaker, says = cases.BROKEN_GGUF[case]
    cases.gguf(tmp_path / "mine.gguf", tokenizer, edit)
    breaker(tmp_path)
    line = refusal(tmp_path / "mine.gguf")
    assert re.search(says, line) and "mine.gguf" in line, line
