"""Tiny random models of many architectures, also such as the engine must refuse. Nothing is copied from anywhere."""

import inspect

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

VOCABULARY = 97
# Whatever a configuration calls its sizes; it takes those that it knows.
SIZES = {
    **{"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0, "is_decoder": True},
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 4),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embed_dim", "lru_width", "moe_intermediate_size"), 16),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "dff", "d_ff", "hidden_dim"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads", "mamba_n_heads"), 2),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 64),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 3),
    **dict.fromkeys(("n_group", "topk_group", "num_key_value_heads", "first_k_dense_replace"), 1),
    **dict.fromkeys(("rotary_dim", "qk_rope_head_dim", "qk_nope_head_dim", "state_size", "mamba_d_state"), 4),
    **dict.fromkeys(("head_dim", "q_lora_rank", "kv_lora_rank", "v_head_dim"), 8),
    **dict.fromkeys(("sliding_window", "attention_window_size"), 4),
    **{"num_experts_per_tok": 2, "mamba_d_head": 16, "mamba_expand": 2, "shared_expert_intermediate_size": 16},
}
KV_SHARING = {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 2}
PER_LAYER = {"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": VOCABULARY, "global_head_dim": 8}
# Of these DD must be right. A name before the dash is Transformers' own, what follows it is ours.
RIGHT: dict[str, dict] = {
    "opt": {"do_layer_norm_before": False, "word_embed_proj_dim": 8},
    "gpt2": {},
    "gpt_neox": {},
    "gpt_bigcode": {},
    "gptj": {},
    "codegen": {"n_head": 4, "n_embd": 32, "n_ctx": 64, "rotary_dim": 4},
    "ctrl": {},
    "bloom": {},
    "mpt": {},
    "falcon": {},
    "phi": {},
    "phi3": {},
    "phimoe": {},
    "gemma2": {},
    "gemma3_text": {},
    "gemma4_text": KV_SHARING | PER_LAYER,
    "qwen2": {},
    "qwen2_moe": {},
    "qwen3": {},
    "qwen3_moe": {},
    "mixtral": {},
    "deepseek_v3": {},
    "gpt_oss": {},
    "llama4_text": {},
    "olmo2": {},
    "olmoe": {},
    "stablelm": {},
    "starcoder2": {},
    "cohere": {},
    "granite": {},
    "granitemoe": {},
    "glm4": {},
    "nemotron": {},
    "biogpt": {},
    "xglm": {},
    "bert": {},
    "jamba": {},
    "bamba": {},
    "falcon_mamba": {},
    "lfm2": {},
    "recurrent_gemma": {},
    "xlstm": {},
}
# Of these one line says why not.
REFUSED: dict[str, tuple[dict, str]] = {
    "bert-both-ways": ({"is_decoder": False}, "BertLMHeadModel looks ahead"),
    "roberta-both-ways": ({"is_decoder": False}, "RobertaForCausalLM looks ahead"),
    "xlnet": ({}, "looks ahead"),
    "zamba": ({"attn_layer_period": 2, "attn_layer_offset": 0, "use_mamba_kernels": False}, "are one tensor"),
    "rwkv": ({"rescale_every": 1}, "cannot be taken apart"),
    "openai-gpt": ({}, "has no rule for .*bias"),
    "hy_v4": ({}, "cannot be taken apart"),
}


def config(case: str, options: dict) -> PreTrainedConfig:
    """The configuration of a case, as small as it goes."""
    name = case if case in CONFIG_MAPPING else case.partition("-")[0]
    made = CONFIG_MAPPING[name]
    known, aliases = set(inspect.signature(made).parameters), getattr(made, "attribute_map", {})
    sizes = {key: value for key, value in SIZES.items() if key in known and key not in aliases}
    return made(**(sizes | options))


def build(case: str, options: dict) -> PreTrainedModel:
    """A random model in float32, evaluation mode, its matrices large enough that models differ."""
    return filled(AutoModelForCausalLM.from_config(config(case, options)))


def filled(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with random values, larger than the usual first ones, which say the same of every text."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
    return model.eval()


def two_towers() -> PreTrainedModel:
    """A text model with a vision tower that is as deep and stands before it."""
    text = {"layer_types": ["sliding_attention", "full_attention"] * 2}
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    both = CONFIG_MAPPING["gemma3"](
        text_config=config("gemma3_text", text).to_dict(),
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    return filled(AutoModelForCausalLM.from_config(both))
