"""How large are embeddings, head and one decoder layer, counted from published shapes of 135 million to 70 billion.

python -m solid_utils.doctor.ends     writes reference/ends.csv

Where head and embeddings are one tensor, securing the embeddings secures both: the thief then has neither token ids'
states nor logits. Where they are not, embeddings alone are cheap once a model is large beside its vocabulary.
"""

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config

from solid_utils.core import errors, schema
from solid_utils.core.paths import ENDS_FILE
from solid_utils.doctor.shapes import PUBLISHED
from solid_utils.model.loading import without_values
from solid_utils.model.structure import ends, is_tied, layer_parameters


def qwen(width: int, inner: int, layers: int, heads: int, groups: int, vocabulary: int, tied: bool) -> Qwen2Config:
    """A shape of Qwen2.5 (arXiv:2412.15115, table 1, and its repositories' config.json)."""
    return Qwen2Config(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )


SHAPES: dict[str, PreTrainedConfig] = {
    "SmolLM2-135M": PUBLISHED["SmolLM2-135M-Instruct.Q4_1.gguf"],
    "Qwen2.5-0.5B": qwen(896, 4864, 24, 14, 2, 151936, tied=True),
    "Phi-1.5": PUBLISHED["microsoft/phi-1_5"],
    "Qwen2.5-1.5B": qwen(1536, 8960, 28, 12, 2, 151936, tied=True),
    "Phi-2": PUBLISHED["microsoft/phi-2"],
    "Qwen2.5-3B": qwen(2048, 11008, 36, 16, 2, 151936, tied=True),
    "Llama-2-7B": PUBLISHED["meta-llama/Llama-2-7b-chat-hf"],
    "Mistral-7B": PUBLISHED["mistralai/Mistral-7B-v0.1"],
    "Qwen2.5-7B": qwen(3584, 18944, 28, 28, 4, 152064, tied=False),
    "Llama-3-8B": LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
    ),
    "Qwen2.5-14B": qwen(5120, 13824, 48, 40, 8, 152064, tied=False),
    "Qwen2.5-32B": qwen(5120, 27648, 64, 40, 8, 152064, tied=False),
    "Llama-2-70B": PUBLISHED["meta-llama/Llama-2-70b-chat-hf"],
}


def counted(name: str, config: PreTrainedConfig) -> dict:
    """Scalars, columns schema.ENDS, of a model that is built without values; `head` is 0 where it is tied."""
    model = without_values(config, None)
    sizes = {one: parameter.numel() for one, parameter in model.named_parameters()}

    def of(names) -> int:
        return sum(sizes[one] for one in names)

    inside = layer_parameters(model)
    tied = is_tied(model)
    return {
        "shape": name,
        "model_parameters": sum(sizes.values()),
        "layers": len(inside),
        "embeddings": of(ends(model, "embeddings")),
        "head": 0 if tied else of(ends(model, "head")),
        "layer": of(inside[0]),
        "tied": tied,
    }


if __name__ == "__main__":
    with errors.one_line():
        schema.write([counted(name, config) for name, config in SHAPES.items()], schema.ENDS, ENDS_FILE)
