"""A tiny random model of one's own, with texts, for the command."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from solid_utils.core import paths
from solid_utils.model import accelerator, answers
from tests.conftest import ENDS, GATED

TEXTS = [
    ("Name a colour. ", "Blue is one."),
    ("2 + 2 = ", "4"),
    ("Say it twice: no ", "no no"),
    ("Where? ", "In Rome, in 1960."),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder made by save_pretrained, a file of samples, and an empty study around them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(answers, "TOKENS", 64)
    monkeypatch.setattr(accelerator, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(accelerator.machine, "multiplies_bfloat16", lambda: True)  # not what this CPU has
    monkeypatch.setattr(accelerator, "matmul_rate", lambda *_: 1e9)
    monkeypatch.setattr(accelerator, "draw_rate", lambda *_: 1e8)
    save_model(tmp_path / "mine")
    lines = [json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "mine"


def save_model(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["".join(text) for text in TEXTS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**GATED | {"vocab_size": 400}, **ENDS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    model.to(torch.bfloat16).save_pretrained(folder)
