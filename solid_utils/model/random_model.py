"""A tiny random Llama and a tokenizer for it, trained on the attack set's text, with the habits of a real one."""

import json
from collections import Counter
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from solid_utils.model import sampling
from solid_utils.model import tokenizer as door
from solid_utils.settings import params

BYTES = 256
SPACE = "▁"  # as Metaspace writes it
CHARACTERS = 96  # of Llama's own alphabet here; rarer ones are spelt in bytes


def random_llama(shape: params.Shape) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
    """The model with untied embeddings, its settled tokenizer, and its revision."""
    make = {"gpt2": gpt2_like, "llama2": llama2_like}[shape.tokenizer]
    tokenizer = make((item["prompt"] + item["answer"] for item in sampling.read_set("attack")[:500]), shape.vocabulary)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    return model, door.settle(tokenizer, model, "random"), "random-0"


def gpt2_like(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE; one token ends and pads, none begins."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # every byte, so that any text has tokens
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def llama2_like(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """As Llama-2 ships it: BOS before every text, no padding token, a space before the first word, bytes as a last
    resort; <unk>, <s> and </s> are tokens 0, 1 and 2, then come the bytes.
    """
    texts, words = list(texts), Tokenizer(models.BPE())
    # No token spans two words or a line's end: sentencepiece keeps a line's end as a byte.
    line = pre_tokenizers.Split("\n", "removed")
    words.pre_tokenizer = pre_tokenizers.Sequence([line, pre_tokenizers.Metaspace(prepend_scheme="first")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(BYTES))]
    # Of characters that are equally rare the library keeps whichever its hash brings first, another in every process.
    counts = Counter("".join(texts).replace(" ", SPACE).replace("\n", ""))
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[:CHARACTERS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(special),
        limit_alphabet=len(frequent),
        initial_alphabet=frequent,
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    trained = json.loads(words.to_str())["model"]  # the library has no other way to its merges
    tokens = special + sorted(trained["vocab"], key=trained["vocab"].get)
    whole, merges = {token: number for number, token in enumerate(tokens)}, [tuple(pair) for pair in trained["merges"]]
    return LlamaTokenizer(vocab=whole, merges=merges, add_bos_token=True, legacy=False)
