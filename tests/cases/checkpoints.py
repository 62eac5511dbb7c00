"""Checkpoints that are broken in every way people report, and healthy ones that look odd: small builders.

Each builder changes a healthy folder made by save_pretrained (a tiny random Llama over bytes).
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from gguf import GGUFWriter, TokenType
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.conftest import byte_llama

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD = "lm_head.weight"
MATRIX = "model.layers.1.mlp.up_proj.weight"
NORM = "model.norm.weight"
Breaker = Callable[[Path], None]


def healthy(folder: Path, shards: bool = False) -> LlamaForCausalLM:
    """A tiny model in `folder`, in one file or in several."""
    model = byte_llama(0)
    model.save_pretrained(folder, max_shard_size="10KB" if shards else "1GB")
    return model


def change(edit: Callable[[dict], object], file: str = WEIGHTS) -> Breaker:
    """Change the tensors of a file."""

    def breaker(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / file)
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        edit(tensors)
        safetensors.torch.save_file(tensors, folder / file, metadata={"format": "pt"})

    return breaker


def rewrite(file: str, edit: Callable[[dict], object]) -> Breaker:
    """Change a JSON file."""

    def breaker(folder: Path) -> None:
        value = json.loads((folder / file).read_text())
        edit(value)
        (folder / file).write_text(json.dumps(value))

    return breaker


def configured(**settings: object) -> Breaker:
    return rewrite("config.json", lambda config: config.update(settings))


def contents(file: str, text: bytes) -> Breaker:
    return lambda folder: (folder / file).write_bytes(text)


def cut(folder: Path, file: str = WEIGHTS) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])


def dangling(folder: Path, file: str = WEIGHTS) -> None:
    (folder / file).unlink()
    (folder / file).symlink_to("gone")


def a_folder(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def shard(folder: Path, number: int = 1) -> str:
    """The name of a shard."""
    return sorted(path.name for path in folder.glob("model-*.safetensors"))[number]


def of_a_shard(breaker: Callable[[Path, str], None]) -> Breaker:
    return lambda folder: breaker(folder, shard(folder))


def twice(folder: Path) -> None:
    """A tensor of one shard in another one as well."""
    name, tensor = next(iter(safetensors.torch.load_file(folder / shard(folder, 0)).items()))
    change(lambda tensors: tensors.update({name: tensor.clone()}), shard(folder))(folder)


def elsewhere(weight_map: dict[str, str]) -> None:
    """The index names another shard for a tensor than the one that has it."""
    weight_map[NORM] = next(file for file in sorted(set(weight_map.values())) if file != weight_map[NORM])


def key_twice(folder: Path) -> None:
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(text.replace('"weight_map": {', f'"weight_map": {{"{HEAD}": "other.safetensors", '))


def indexed(edit: Callable[[dict], object]) -> Breaker:
    return rewrite(INDEX, lambda index: edit(index["weight_map"]))


def quantised(method: str, **settings: object) -> Breaker:
    return configured(quantization_config={"quant_method": method, **settings})


def prefixed(tensors: dict) -> None:
    """Names under which no tensor matches, as those of an adapter or of another tool."""
    for name in list(tensors):
        tensors[f"base_model.{name}.lora_A"] = tensors.pop(name)


# What was done to a folder -> (builder, what the line says). All are refused, in memory and streamed.
BROKEN: dict[str, tuple[Breaker, str]] = {
    "no head": (change(lambda tensors: tensors.pop(HEAD)), f"{HEAD} missing, and would be random"),
    "no matrix": (change(lambda tensors: tensors.pop(MATRIX)), f"{MATRIX} missing"),
    "deeper": (configured(num_hidden_layers=3), "model.layers.2.* and 6 more missing"),
    "shallower": (configured(num_hidden_layers=1), "model.layers.1.* and 6 more belongs nowhere"),
    "nothing matches": (change(prefixed), "missing"),
    "one more": (change(lambda tensors: tensors.update(extra=torch.ones(2))), "extra belongs nowhere"),
    "other shape": (configured(intermediate_size=48), r"model.layers.0.mlp.* is of shape \(.*\), the configuration"),
    "other vocabulary": (configured(vocab_size=300), r"is of shape \(257, 16\), the configuration says \(300, 16\)"),
    "a flat tensor": (change(lambda tensors: tensors.update({MATRIX: torch.ones(1)})), rf"{MATRIX} is of shape \(1,\)"),
    "nan": (change(lambda tensors: tensors[MATRIX][3].fill_(torch.nan)), f"{MATRIX} holds values that are no numbers"),
    "infinite": (change(lambda tensors: tensors[HEAD][0, :1].fill_(-torch.inf)), f"{HEAD} holds values that are no"),
    "integers": (change(lambda tensors: tensors.update({MATRIX: tensors[MATRIX].char()})), f"{MATRIX} is of type I8"),
    "packed": (change(lambda tensors: tensors.update({MATRIX: tensors[MATRIX].byte()[:, :8].clone()})), "type U8"),
    "booleans": (change(lambda tensors: tensors.update({MATRIX: tensors[MATRIX] > 0})), f"{MATRIX} is of type BOOL"),
    "no tensors": (change(dict.clear), "no tensor in it"),
    "cut": (cut, f"{WEIGHTS}: no whole safetensors file"),
    "empty": (contents(WEIGHTS, b""), f"{WEIGHTS}: empty"),
    "short": (contents(WEIGHTS, b"abc"), f"{WEIGHTS}: no whole safetensors file"),
    "noise": (contents(WEIGHTS, bytes(range(200))), f"{WEIGHTS}: no whole safetensors file"),
    "pointer": (contents(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "Git LFS"),
    "web page": (contents(WEIGHTS, b"<!DOCTYPE html><html>Not found</html>"), "a web page"),
    "dangling": (dangling, f"{WEIGHTS}: a link to gone, which does not exist"),
    "folder": (a_folder, f"{WEIGHTS}: no file"),
    "adapter": (contents("adapter_config.json", b'{"peft_type": "LORA"}'), "an adapter .* beside a model's weights"),
    "bitsandbytes": (quantised("bitsandbytes", load_in_4bit=True), "quantised with bitsandbytes"),
    "gptq": (quantised("gptq", bits=4, group_size=32), "quantised with gptq"),
    "awq": (quantised("awq", bits=4, group_size=32, zero_point=True, version="gemm"), "quantised with awq"),
    "compressed": (quantised("compressed-tensors", config_groups={}), "quantised with compressed-tensors"),
    "unknown method": (quantised("of tomorrow"), "quantised with of tomorrow"),
    "no method": (configured(quantization_config={"bits": 4}), "quantised with a method that it does not name"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "no config.json there"),
    "no JSON": (contents("config.json", b"{'model_type': llama"), "config.json: no JSON"),
    "a list": (contents("config.json", b"[1]"), "config.json: no JSON object"),
    "Latin-1": (contents("config.json", '{"é": 1}'.encode("latin1")), "config.json: line 1 is not UTF-8"),
    "no architecture": (configured(model_type="of tomorrow"), "config.json: its configuration cannot be read"),
    "code of its own": (
        configured(model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}),
        "config.json: its configuration cannot be read",
    ),
    "a billion layers": (configured(num_hidden_layers=10**9), "num_hidden_layers is 1000000000, the weights are"),
    "no layers": (configured(num_hidden_layers=0), "num_hidden_layers is 0; write a whole number"),
    "layers in words": (configured(num_hidden_layers="two"), "config.json: .*num_hidden_layers"),
    "no width": (configured(hidden_size=-16), "hidden_size is -16"),
    "no heads": (configured(num_attention_heads=0), "config.json: "),
    "odd heads": (configured(num_attention_heads=3), "config.json"),
    "a null": (configured(vocab_size=None), "config.json: .*vocab_size"),
}
BROKEN_SHARDS: dict[str, tuple[Breaker, str]] = {
    "missing": (lambda folder: (folder / shard(folder)).unlink(), "model-00002-of-.*: missing; get the file again"),
    "cut": (of_a_shard(cut), "model-00002-of-.*: no whole safetensors file"),
    "dangling": (of_a_shard(dangling), "model-00002-of-.*: a link to gone"),
    "empty": (of_a_shard(lambda folder, file: (folder / file).write_bytes(b"")), "model-00002-of-.*: empty"),
    "twice": (twice, "model-00002-of-.* is also in model-00001"),
    "promise": (
        of_a_shard(lambda folder, file: change(lambda tensors: tensors.popitem(), file)(folder)),
        f"no .* in it, which {INDEX} says is there",
    ),
    "elsewhere": (indexed(elsewhere), f"{NORM} is in model-.*, not there as {INDEX} says"),
    "no tensor": (indexed(dict.clear), f"{INDEX}: no index of weights"),
    "no JSON": (contents(INDEX, b'{"metadata": {}, "weight_map": '), f"{INDEX}: no JSON"),
    "no map": (contents(INDEX, b'{"metadata": {}}'), f"{INDEX}: no index of weights"),
    "no metadata": (rewrite(INDEX, lambda index: index.pop("metadata")), f"{INDEX}: no index of weights"),
    "a number": (indexed(lambda names: names.update({HEAD: 3})), f"{INDEX}: 3 is no name of a safetensors file"),
    "outside": (indexed(lambda names: names.update({HEAD: "../x.safetensors"})), "leads out of the folder"),
    "absolute": (indexed(lambda names: names.update({HEAD: "/etc/x.safetensors"})), "leads out of the folder"),
    "a pickle": (indexed(lambda names: names.update({HEAD: "model.bin"})), "is no name of a safetensors file"),
    "key twice": (key_twice, f"{INDEX}: no JSON .*{HEAD} stands twice"),
    "dangling index": (lambda folder: dangling(folder, INDEX), f"{INDEX}: a link to gone"),
}


def early_llama(tensors: dict) -> None:
    """Llama-1 and early Llama-2 carry a buffer a layer, which is computed now."""
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)


# Odd, and healthy.
HEALTHY: dict[str, Breaker] = {
    "as it is": lambda folder: None,
    "early Llama": change(early_llama),
    "half precision": change(lambda tensors: tensors.update({HEAD: tensors[HEAD].half()})),
    "an older copy": lambda folder: (folder / "older.safetensors").write_bytes((folder / WEIGHTS).read_bytes()[:99]),
    "a pickle": contents("pytorch_model.bin", b"never read"),
    "an index of no shards": contents(INDEX, b'{"metadata": {}, "weight_map": {"x": "gone.safetensors"}}'),
}


def gguf(path: Path, tokenizer: PreTrainedTokenizerFast, edit: Callable[[dict], object] | None = None) -> None:
    """`byte_llama(0)` as a GGUF file with the given tokenizer over bytes; `edit` changes its arrays."""
    model, writer = byte_llama(0), GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    odd = tokens[-2]  # two bytes that no text of a test has: there must be one merge
    tokens[-1] = 2 * odd
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_merges([f"{odd} {odd}"])
    writer.add_token_types([TokenType.CONTROL] + [TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_eos_token_id(0)
    arrays = {name: array(name, tensor, model) for name, tensor in model.state_dict().items()}
    arrays = {gguf_name(name): values for name, values in arrays.items()}
    if edit:
        edit(arrays)
    for name, values in arrays.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.": "attn_",
    "_proj": "",
    "attn_o.": "attn_output.",
    "mlp.": "ffn_",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    for ours, theirs in GGUF_NAMES.items():
        name = name.replace(ours, theirs)
    return name


def array(name: str, tensor: torch.Tensor, model: LlamaForCausalLM) -> np.ndarray:
    """llama.cpp keeps queries and keys in another order of a head's rows."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:
            tensor = tensor.reshape(count, 2, len(tensor) // count // 2, -1).transpose(1, 2).reshape(tensor.shape)
    return tensor.numpy().copy()


def to_fp8(tensors: dict) -> None:
    """Decoder matrices in 8 bits, with a scale for each block of 8 x 8."""
    for name in [name for name in tensors if "_proj" in name]:
        matrix = tensors[name]
        rows, columns = matrix.shape[0] // 8, matrix.shape[1] // 8
        blocks = matrix.reshape(rows, 8, columns, 8)
        scale = blocks.abs().amax((1, 3), keepdim=True) / 448
        tensors[name] = (blocks / scale).reshape(matrix.shape).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale.reshape(rows, columns)


GGUF = "mine.gguf"
# What was done to a GGUF file -> (change of its arrays, of the file, what the line says).
BROKEN_GGUF: dict[str, tuple[Callable[[dict], object] | None, Breaker, str]] = {
    "cut": (None, lambda folder: cut(folder, GGUF), "cannot be"),
    "header cut": (None, lambda folder: (folder / GGUF).write_bytes((folder / GGUF).read_bytes()[:300]), "cannot be"),
    "empty": (None, contents(GGUF, b""), "empty"),
    "noise": (None, contents(GGUF, bytes(range(200))), "cannot be"),
    "pointer": (None, contents(GGUF, b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "dangling": (None, lambda folder: dangling(folder, GGUF), "a link to gone"),
    "no matrix": (lambda arrays: arrays.pop("blk.1.ffn_up.weight"), lambda folder: None, f"{MATRIX} missing"),
    "nan": (lambda arrays: arrays["blk.1.ffn_up.weight"].fill(np.nan), lambda folder: None, f"{MATRIX} holds values"),
    "other shape": (
        lambda arrays: arrays.update({"blk.1.ffn_up.weight": np.ones((4, 16), np.float32)}),
        lambda folder: None,
        f"{MATRIX} is of shape",
    ),
}
