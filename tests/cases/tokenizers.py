"""Tiny random models with the tokenizer habits of the paper's six, laid out as they are shipped, and ways to break one.

The models have each architecture's shape (grouped heads, more embedding rows than tokens, projections around a
post-norm model), the tokenizers are trained on a few sentences; nothing is copied.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
)

from solid_utils.model import random_model

TEXTS = [
    "Name a colour. Blue is one, red is another.",
    "What is 2 + 2? It is 4, and 3 + 4 is 7.",
    "Say it twice: no no\n\n### Response: yes yes",
    "def add(a, b):\n    return a + b",
]
ROWS = 400  # of the embeddings
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
SMALL = {"vocab_size": ROWS, "hidden_size": 16, "num_hidden_layers": 3}
GATED = SMALL | {"intermediate_size": 32, "num_attention_heads": 2, "max_position_embeddings": 256}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}


def llama(key_value_heads: int) -> LlamaConfig:
    return LlamaConfig(**GATED, **ENDS, num_key_value_heads=key_value_heads)


HABITS: dict[str, Callable] = {
    "llama2-7b": lambda: llama(2),
    "llama2-70b": lambda: llama(1),
    "mistral-7b": lambda: MistralConfig(**GATED, **ENDS, num_key_value_heads=1, sliding_window=128),
    "phi-2": lambda: PhiConfig(**GATED, bos_token_id=0, eos_token_id=0, partial_rotary_factor=0.5),
    "phi-1_5": lambda: PhiConfig(**GATED, bos_token_id=None, eos_token_id=None, partial_rotary_factor=0.5),
    "opt-350m": lambda: OPTConfig(
        **SMALL,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
        ffn_dim=32,
        num_attention_heads=2,
        max_position_embeddings=256,
        word_embed_proj_dim=8,
        do_layer_norm_before=False,
    ),
}
BEGINS = {"llama2-7b": [1], "llama2-70b": [1], "mistral-7b": [1], "phi-2": [], "phi-1_5": [], "opt-350m": [2]}
PADS = {"llama2-7b": 2, "llama2-70b": 2, "mistral-7b": 2, "phi-2": 0, "phi-1_5": 0, "opt-350m": 1}


def random(config) -> torch.nn.Module:
    """Weights so large that the models differ in what they say."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    return model


def write(folder: Path, habit: str) -> Path:
    """A model's folder, its tokenizer as the habit ships it."""
    random(HABITS[habit]()).save_pretrained(folder)
    if habit == "opt-350m":
        opt_like(folder)
    elif habit.startswith("phi"):
        phi_like(folder)
    else:
        random_model.llama2_like(TEXTS, 380).save_pretrained(folder)
    if habit.startswith("llama2"):  # of the chat models: answers are drawn, and another token pads
        GenerationConfig(**ENDS, pad_token_id=0, do_sample=True, temperature=0.6, top_p=0.9).save_pretrained(folder)
    return folder


def bytes_like(special: list[str], tokens: int = 300) -> Tokenizer:
    """A byte-level BPE tokenizer over the texts, its special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens, special_tokens=special, initial_alphabet=ALPHABET, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def phi_like(folder: Path) -> None:
    """One token begins, ends and is unknown, none pads, none is put before a text; runs of spaces are added tokens."""
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_like([end]), bos_token=end, eos_token=end, unk_token=end)
    tokenizer.add_tokens(["    ", "  "])
    tokenizer.save_pretrained(folder)
    change(folder / "tokenizer_config.json", tokenizer_class="CodeGenTokenizer", model_max_length=20)


def opt_like(folder: Path) -> None:
    """</s> before every text, <pad> is token 1; a vocabulary and merges, no tokenizer.json."""
    model = json.loads(bytes_like(["<s>", "<pad>", "</s>", "<unk>"]).to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, model["merges"])) + "\n")
    ends = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>") | {"pad_token": "<pad>"}
    told = ends | {"add_prefix_space": False, "add_bos_token": True, "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def short(folder: Path, positions: int = 32) -> Path:
    """A model with learned positions for a few tokens."""
    shape = {"vocab_size": ROWS, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": positions}
    random(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)
    phi_like(folder)
    return folder


def change(path: Path, **values) -> None:
    """Keys of a JSON file replaced; None deletes one."""
    whole = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def edit(folder: Path, make: Callable[[Tokenizer], None]) -> None:
    """The folder's tokenizer.json after `make` worked on it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    make(tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))


def appends(begin: str, end: str) -> Callable[[Tokenizer], None]:
    """For `edit`: these tokens around every text; "" for none in front."""

    def make(tokenizer: Tokenizer) -> None:
        known = [(token, tokenizer.token_to_id(token)) for token in {begin, end} - {""}]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A {end}".strip(), special_tokens=known
        )

    return make
