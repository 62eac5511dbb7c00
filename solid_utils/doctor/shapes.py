"""A model's configuration before it is there: from its folder, from its section, or as its makers published it."""

from pathlib import Path

from transformers import AutoConfig, LlamaConfig, MistralConfig, OPTConfig, PhiConfig, PreTrainedConfig

from solid_utils.core.errors import StudyError
from solid_utils.model import models
from solid_utils.recommend.plan import LLAMA2_70B
from solid_utils.settings import params

# Of the models that the shipped sections name: a plan needs shapes, and neither hub nor GGUF file is there before the
# first stage. Only what sizes depend on.
PUBLISHED: dict[str, PreTrainedConfig] = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    ),
    "meta-llama/Llama-2-70b-chat-hf": LLAMA2_70B,
    "meta-llama/Llama-2-7b-chat-hf": LlamaConfig(  # as LlamaConfig() has it
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
    ),
    "mistralai/Mistral-7B-v0.1": MistralConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=32000,
    ),
    "microsoft/phi-2": PhiConfig(
        hidden_size=2560, intermediate_size=10240, num_hidden_layers=32, num_attention_heads=32, vocab_size=51200
    ),
    "microsoft/phi-1_5": PhiConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=24, num_attention_heads=32, vocab_size=51200
    ),
    "facebook/opt-350m": OPTConfig(
        hidden_size=1024,
        ffn_dim=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        vocab_size=50272,
        word_embed_proj_dim=512,
        do_layer_norm_before=False,
    ),
}


def shape(study: params.Params, name: str) -> PreTrainedConfig | None:
    """The configuration of a model of the settings; None where nothing here knows it yet.

    Raises StudyError for a folder without a readable configuration.
    """
    spec = study.model(name)
    if spec.source == "random":
        return LlamaConfig(  # as models.random_llama makes it
            vocab_size=spec.shape.vocabulary,
            hidden_size=spec.shape.width,
            intermediate_size=4 * spec.shape.width,
            num_hidden_layers=spec.shape.layers,
            num_attention_heads=spec.shape.heads,
        )
    if spec.source == "customized":
        return shape(study, spec.base)
    folders = [models.victim_folder(name), *([Path(spec.path)] if spec.source == "folder" else [])]
    for folder in folders:
        if (folder / "config.json").exists():
            return read(folder)
    known = spec.path if spec.source == "hub" else Path(spec.path).name
    return PUBLISHED.get(known)


def read(folder: Path) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise StudyError(f"{folder / 'config.json'}: cannot be read ({reason}); save the model again") from None
