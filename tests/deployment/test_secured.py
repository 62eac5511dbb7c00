import pytest
from transformers import AutoModelForCausalLM, Phi3Config, Qwen2MoeConfig

from solid_utils.core.errors import StudyError
from solid_utils.deployment.cost import Cost, cost
from solid_utils.deployment.secured import note, secured_set
from solid_utils.model.structure import decoder_layers, layer_parameters, parameters_after_layers
from tests.conftest import ENDS, GATED, build

LAYER = 2 * (256 + 128) + 3 * 512  # scalars of the matrices of one tiny llama layer: q, o; k, v; gate, up, down
NORMS = 2 * 16


def test_layers_are_found_by_structure(model):
    path, layers = decoder_layers(model)
    assert len(layers) == 4
    inside = [name for name, _ in model.named_parameters() if name.startswith(f"{path}.")]
    assert set(secured_set(model, "layers 0-3").names) == set(inside)


def test_fully_secured_is_every_parameter(model):
    chosen = secured_set(model, "fully_secured")
    assert chosen.is_whole_model and chosen.share == 1
    assert chosen.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("declaration", "layers"),
    [
        ("layers 0-2", (0, 1, 2)),
        ("layers 3,1", (1, 3)),
        ("bottom 2", (0, 1)),
        ("top 1", (3,)),
        ("darknetz", (3,)),
        ("layer 2", (2,)),
    ],
)
def test_declarations(llama, declaration, layers):
    chosen = secured_set(llama, declaration)
    assert chosen.layers == layers and chosen.only_layers


def test_solid_needs_the_search(llama):
    assert secured_set(llama, "solid", l_star=2).layers == (0, 1)
    with pytest.raises(StudyError, match="dvc repro dd"):
        secured_set(llama, "solid")


def test_sap_secures_what_follows_the_layers(llama):
    assert parameters_after_layers(llama) == {"model.norm.weight", "lm_head.weight"}
    with pytest.raises(StudyError, match="more than 6 decoder layers"):
        secured_set(llama, "sap")


def test_a_tied_head_belongs_to_the_embeddings():
    tied = build("llama-tied")
    assert parameters_after_layers(tied) == {"model.norm.weight"}
    with pytest.raises(StudyError, match="tied"):
        secured_set(tied, "head")
    both, alone = secured_set(tied, "embeddings + head"), secured_set(tied, "embeddings")
    assert both.names == alone.names == ("model.embed_tokens.weight",)
    assert "secret too" in note(tied, alone)
    assert not note(tied, secured_set(tied, "layers 0"))


def test_an_untied_head_stands_alone(llama):
    chosen = secured_set(llama, "head")
    assert chosen.names == ("lm_head.weight",) and not note(llama, secured_set(llama, "embeddings"))


@pytest.mark.parametrize(
    ("declaration", "complaint"),
    [
        ("layers 7", "layer 7 does not exist; layers are 0 to 3"),
        ("bottom 9", "layer 4 does not exist"),
        ("bottom 0", "empty"),
        ("layers 3-1", "empty"),
        ("lowest", "not understood"),
        ("layers 1-", "not understood"),
        ("layer 0 q,x", "'x' is no matrix of a layer; choose from q, k, v, o, gate, up, down"),
        ("layer 7 q", "layer 7 does not exist"),
        ("first 255", "too small for the first matrix, model.layers.0.self_attn.q_proj.weight; write first 256"),
        ("first 101%", "write at most first 100%"),
        ("first 3 %%", "not understood"),
    ],
)
def test_mistakes_get_one_line(llama, declaration, complaint):
    with pytest.raises(StudyError, match=complaint) as caught:
        secured_set(llama, declaration)
    assert "\n" not in str(caught.value) and declaration in str(caught.value)


@pytest.mark.parametrize(
    ("declaration", "names"),
    [
        ("layer 0 q", ["0.self_attn.q_proj"]),
        ("layer 2 v, k,q", ["2.self_attn.q_proj", "2.self_attn.k_proj", "2.self_attn.v_proj"]),
        ("layers 0-1 o", ["0.self_attn.o_proj", "1.self_attn.o_proj"]),
        ("bottom 2 gate,up", ["0.mlp.gate_proj", "0.mlp.up_proj", "1.mlp.gate_proj", "1.mlp.up_proj"]),
        ("layer 0 q + top 1 down", ["0.self_attn.q_proj", "3.mlp.down_proj"]),
    ],
)
def test_matrices_by_role(llama, declaration, names):
    chosen = secured_set(llama, declaration)
    assert chosen.names == tuple(f"model.layers.{name}.weight" for name in names)
    assert chosen.layers == () and not chosen.only_layers


def test_a_role_is_a_matrix_with_its_bias_or_gets_one_line(model):
    """On every architecture: each role names one projection, or one line says why it does not."""
    refused = set()
    for role in ("q", "k", "v", "o", "gate", "up", "down"):
        try:
            names = secured_set(model, f"layer 1 {role}").names
        except StudyError as error:
            assert "\n" not in str(error) and "secure 'layer 1' instead" in str(error)
            refused.add(role)
        else:
            path = names[0].removesuffix(".weight")
            module = model.get_submodule(path)
            assert names == tuple(f"{path}.{name}" for name, _ in module.named_parameters())
            assert names[0] in layer_parameters(model)[1]
    family = model.config.model_type
    expected = {"phi": {"gate"}, "opt": {"gate"}, "mixtral": {"gate", "up", "down"}}
    expected |= dict.fromkeys(("gpt2", "gpt_neox", "falcon"), {"q", "k", "v", "gate"})
    assert refused == expected.get(family, set())


@pytest.mark.parametrize(
    ("architecture", "declaration", "complaint"),
    [
        ("gpt2", "layer 0 q", "in GPT2Block q is fused into attn.c_attn; secure 'layer 0' instead"),
        ("falcon", "bottom 2 v", "v is fused into self_attention.query_key_value; secure 'bottom 2' instead"),
        ("opt", "layer 0 gate", "no matrix is known as gate; known: q, k, v, o, up, down; secure 'layer 0' instead"),
        ("mixtral", "layer 0 up", "up of all experts is one stack, mlp.experts.gate_up_proj"),
        ("mixtral", "layer 0 down", "down of all experts is one stack, mlp.experts.down_proj"),
    ],
)
def test_refused_roles(architecture, declaration, complaint):
    with pytest.raises(StudyError, match=complaint):
        secured_set(build(architecture), declaration)


def test_refused_roles_of_other_layouts():
    phi3 = AutoModelForCausalLM.from_config(Phi3Config(**GATED, **ENDS))
    with pytest.raises(StudyError, match="q is fused into self_attn.qkv_proj"):
        secured_set(phi3, "layer 0 q")
    with pytest.raises(StudyError, match="up is fused into mlp.gate_up_proj"):
        secured_set(phi3, "layer 0 up")
    experts = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    shared = AutoModelForCausalLM.from_config(
        Qwen2MoeConfig(**GATED, **ENDS, **experts, shared_expert_intermediate_size=8)
    )
    with pytest.raises(StudyError, match="down of all experts is one stack"):
        secured_set(shared, "layer 0 down")
    assert secured_set(shared, "layer 0 o").names == ("model.layers.0.self_attn.o_proj.weight",)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_the_size_of_the_bottom_layers_gives_them(model, depth):
    bottom = secured_set(model, f"bottom {depth}")
    chosen = secured_set(model, f"first {bottom.parameters}")
    assert (chosen.names, chosen.layers, chosen.only_layers) == (bottom.names, bottom.layers, True)
    less = secured_set(model, f"first {bottom.parameters - 1}")
    assert set(less.names) < set(bottom.names) and less.layers == tuple(range(depth - 1)) and not less.only_layers


@pytest.mark.parametrize(
    ("declaration", "parameters", "last"),
    [
        ("first 256", 256, "0.self_attn.q_proj.weight"),
        ("first 500", 384, "0.self_attn.k_proj.weight"),
        ("first 0.5K", 384, "0.self_attn.k_proj.weight"),
        ("first 2.5K", LAYER + NORMS, "0.post_attention_layernorm.weight"),
        (f"first {LAYER + NORMS - 1}", LAYER, "0.mlp.down_proj.weight"),
        ("first 20%", LAYER + NORMS, "0.post_attention_layernorm.weight"),  # of 12464: 2492
        ("first 99%", 4 * (LAYER + NORMS), "3.post_attention_layernorm.weight"),
    ],
)
def test_sizes(llama, declaration, parameters, last):
    chosen = secured_set(llama, declaration)
    assert (chosen.parameters, chosen.names[-1]) == (parameters, f"model.layers.{last}")


def test_a_fused_matrix_comes_with_its_bias_in_a_size():
    gpt2 = build("gpt2")
    assert secured_set(gpt2, "first 1000").names == tuple(
        f"transformer.h.0.attn.c_attn.{leaf}" for leaf in ("weight", "bias")
    )


@pytest.mark.parametrize("declaration", ["first 100%", "first 1M", "first 12464"])
def test_all_of_the_model_by_size(llama, declaration):
    assert secured_set(llama, declaration).is_whole_model


# The tiny llama: width 16, 2 bytes, vocabulary 97: a hidden state is 32 bytes, logits are 194.
@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ("none", Cost(0, 0, 0, 0)),
        ("bottom 1", Cost(2 * (LAYER + NORMS), 2 * LAYER, 32 + 32, 0)),
        ("layers 2", Cost(2 * (LAYER + NORMS), 2 * LAYER, 32 + 32, 32 + 32)),
        ("top 1", Cost(2 * (LAYER + NORMS), 2 * LAYER, 32 + 32, 32 + 32)),
        ("layers 0,2", Cost(4 * (LAYER + NORMS), 4 * LAYER, 128, 64)),
        (
            "layers 2-3 + rest after layers",
            Cost(2 * (2 * LAYER + 2 * NORMS + 16 + 97 * 16), 2 * (2 * LAYER + 97 * 16), 32 + 194, 194 + 32),
        ),
        ("fully_secured", Cost(2 * 12464, 2 * (4 * LAYER + 97 * 16), 8 + 194, 0)),
        ("embeddings + bottom 1", Cost(2 * (97 * 16 + LAYER + NORMS), 2 * LAYER, 8 + 32, 0)),
        ("embeddings", Cost(2 * 97 * 16, 0, 8 + 32, 0)),
        ("head", Cost(2 * 97 * 16, 2 * 97 * 16, 32 + 194, 194 + 32)),
        ("layer 0 q", Cost(2 * 256, 2 * 256, 32 + 32, 0)),
        ("layer 0 q,k,v", Cost(2 * 512, 2 * 512, 64 + 48 + 48, 0)),
        ("layer 0 down", Cost(2 * 512, 2 * 512, 64 + 32, 96)),
        ("layer 1 k", Cost(2 * 128, 2 * 128, 32 + 16, 48)),
    ],
)
def test_cost(llama, declaration, expected):
    assert cost(llama, secured_set(llama, declaration)) == expected


def test_cost_of_a_tied_head_and_of_other_bytes():
    tied = build("llama-tied")
    embeddings = secured_set(tied, "embeddings")
    assert cost(tied, embeddings) == Cost(2 * 97 * 16, 2 * 97 * 16, (8 + 32) + (32 + 194), 194 + 32)
    everything = secured_set(tied, "all")
    assert cost(tied, everything, 4).bytes_forward == 8 + 4 * 97
    assert cost(tied, everything).flops_per_token == 2 * (4 * LAYER + 97 * 16)


def test_cost_counts_active_experts():
    mixtral = build("mixtral")
    attention, router, expert = 768, 3 * 16, 3 * 512
    counted = cost(mixtral, secured_set(mixtral, "bottom 1"))
    assert counted.flops_per_token == 2 * (attention + router + 2 * expert)
    assert counted.secure_memory == 2 * (attention + router + 3 * expert + NORMS)


def test_cost_on_every_architecture(model):
    counted = cost(model, secured_set(model, "fully_secured"))
    assert (counted.bytes_forward, counted.bytes_backward) == (8 + 194, 0)
    assert cost(model, secured_set(model, "bottom 2")).bytes_forward == 64
