"""Tiny random models of several architectures, and samples for them."""

import copy
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import solid_utils  # noqa: F401, before the large imports: it says how often to look for garbage in them

# The tests compare numbers and devices of the CPU; on a GPU machine 56 of 1,250 failed for that alone. What runs on a
# GPU: docs/gpu.md. Before torch is imported, so that child processes see none either.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# A person's own state, lab or consent is no part of a test: with SOLID_STATE set the killed study left its state there.
os.environ.pop("SOLID_STATE", None)
os.environ.pop("SOLID_LAB", None)
os.environ.pop("YES", None)

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from solid_utils.model.layers import DecoderLayers, hidden

ONE = 1  # thread: these models are too small for two, and other programs may hold the second core
torch.set_num_threads(ONE)
VOCABULARY = 97
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
GATED = SMALL | {"intermediate_size": 32, "num_key_value_heads": 1, "head_dim": 8}
ENDS = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}

CONFIGS = {
    "llama": LlamaConfig(**GATED, **ENDS),
    "llama-tied": LlamaConfig(**GATED, **ENDS, tie_word_embeddings=True),
    "mistral": MistralConfig(**GATED, **ENDS, sliding_window=4),
    "phi": PhiConfig(**SMALL, **ENDS, intermediate_size=32),
    "opt": OPTConfig(
        vocab_size=VOCABULARY, hidden_size=16, ffn_dim=32, num_hidden_layers=4, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=8, do_layer_norm_before=False, **ENDS,
    ),
    "opt-pre-norm": OPTConfig(
        vocab_size=VOCABULARY, hidden_size=16, ffn_dim=32, num_hidden_layers=4, num_attention_heads=2,
        max_position_embeddings=64, **ENDS,
    ),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=4, n_head=2, n_positions=64, **ENDS),
    "neox": GPTNeoXConfig(**SMALL, **ENDS, intermediate_size=32),
    "falcon": FalconConfig(**SMALL, **ENDS, ffn_hidden_size=32, multi_query=True, new_decoder_architecture=False),
    "qwen2": Qwen2Config(**SMALL, **ENDS, intermediate_size=32, num_key_value_heads=1),
    "qwen3": Qwen3Config(**GATED, **ENDS),
    "gemma2": Gemma2Config(**GATED, **ENDS, sliding_window=4),
    "gemma3": Gemma3TextConfig(
        **GATED, **ENDS, sliding_window=4, layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "mixtral": MixtralConfig(**GATED, **ENDS, num_local_experts=3, num_experts_per_tok=2),
}  # fmt: skip


# Files of more than half a minute, the longest first: one that begins last is waited for by the other core.
LONG = [
    "test_pipeline.py",
    "test_report.py",
    "test_difficulty.py",
    "test_published_tasks.py",
    "test_compare.py",
    "test_recommend.py",
    "test_grid.py",
]


def pytest_collection_modifyitems(items):
    """The whole study on the tiny model takes as long as half of the other tests: one core begins with it."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """What a test before set is undone: a process forked off one with two threads hangs in its first product."""
    torch.set_num_threads(ONE)


@pytest.fixture(scope="module", autouse=True)
def imports_are_no_garbage():
    """The engine collects garbage between phases; over all that is imported that takes 0.4 s each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=CONFIGS)
def model(request):
    """A tiny random causal language model of each architecture, float32, in evaluation mode."""
    return build(request.param)


@pytest.fixture
def llama():
    return build("llama")


def build(architecture: str):
    torch.manual_seed(0)
    # A copy: what saves a model in bfloat16 writes that into its configuration.
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[architecture])).eval()
    with torch.no_grad():  # the usual initialisation is so small that every model says the same
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model


@pytest.fixture
def samples():
    """Samples of different lengths, each with a prompt and an answer."""
    generator = torch.Generator().manual_seed(1)
    lengths = (9, 5, 12, 7, 10)
    return [
        {
            "id": f"s{number}",
            "source": "alpaca",
            "input_ids": torch.randint(1, VOCABULARY, (length,), generator=generator).tolist(),
            "answer_start": length // 2,
        }
        for number, length in enumerate(lengths)
    ]


@pytest.fixture(scope="session")
def tokenizer():
    """Bytes as tokens: any text, no download."""
    vocabulary = {"<end>": 0} | {byte: n + 1 for n, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    plain = Tokenizer(models.BPE(vocabulary, []))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>")


def byte_llama(seed: int, positions: int = 1024) -> LlamaForCausalLM:
    """A tiny random Llama over bytes."""
    torch.manual_seed(seed)
    shape = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, **ends, max_position_embeddings=positions)).eval()


@contextmanager
def watched(layers: DecoderLayers, indices: list[int]) -> Iterator[dict[int, torch.Tensor]]:
    """For the duration, collect the hidden state that leaves each of these layers of the plain model."""
    states: dict[int, torch.Tensor] = {}

    def store(index: int):
        return lambda _module, _inputs, output: states.__setitem__(index, hidden(output))

    hooks = [layers.layers[index].register_forward_hook(store(index)) for index in indices]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()
