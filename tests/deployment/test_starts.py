import itertools
import math
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, JetMoeConfig

from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts
from solid_utils.deployment.secured import secured_set
from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.matrices import role_of
from solid_utils.model.structure import layer_parameters
from tests.conftest import ENDS, SMALL, build, watched

UNAIDED = starts.UNAIDED
NEEDS_NO_BASE = [start for start in starts.STARTS if start != "public_base"]
UP = "model.layers.{}.mlp.up_proj.weight"


def names(model):
    return [name for name, _ in model.named_parameters()]


def test_vectors_take_the_architectures_initial_values(model):
    fresh = type(model)(model.config)
    drawn = starts.draw(model, names(model), "xavier", 20)
    vectors = {name: parameter for name, parameter in fresh.named_parameters() if parameter.ndim < 2}
    assert vectors
    for name, parameter in vectors.items():
        assert torch.equal(drawn[name], parameter.float()), name


@pytest.mark.parametrize(
    ("start", "declaration"),
    [
        *itertools.product(NEEDS_NO_BASE, ["layers 0-1", "layer 2 o + head"]),
        *itertools.product(UNAIDED, ["all"]),
    ],
)
def test_secret_values_are_never_read(llama, start, declaration):
    secret = secured_set(llama, declaration).names
    before = starts.draw(llama, secret, start, 20)
    parameters = dict(llama.named_parameters())
    with torch.no_grad():
        for name in secret:
            parameters[name].fill_(math.nan)

    def read(name):
        assert name not in secret
        return parameters[name]

    after = starts.draw(llama, secret, start, 20, read=read)
    assert before.keys() == after.keys() == set(secret)
    assert all(torch.equal(before[name], after[name]) for name in before)
    # A part of the set is drawn as within the whole: the rest of the set is no more readable than before.
    part = starts.draw(llama, secret[:2], start, 20, secret, read)
    assert all(torch.equal(before[name], part[name]) for name in part)


def test_all_victims_are_drawn_blindly(model):
    before = starts.draw(model, names(model), "xavier", 20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    after = starts.draw(model, names(model), "xavier", 20)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("start", NEEDS_NO_BASE)
def test_the_model_may_have_no_values(model, start):
    """On the meta device: shapes and the architecture's vectors do; open values come from `read`."""
    with torch.device("meta"):
        shell = type(model)(model.config)
    secret, parameters = secured_set(model, "layers 1-2").names, dict(model.named_parameters())
    drawn = starts.draw(shell, secret, start, 20, read=parameters.__getitem__)
    expected = starts.draw(model, secret, start, 20)
    assert all(torch.equal(drawn[name], expected[name]) and drawn[name].device.type == "cpu" for name in secret)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in drawn.values())
    if starts.depends_on_set(start):
        with pytest.raises(StudyError, match="no value on the meta device"):
            starts.draw(shell, secret, start, 20)


def test_drawing_leaves_the_random_stream_alone():
    phi, before = build("phi"), torch.get_rng_state()
    starts.draw(phi, names(phi), "xavier", 20)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_vector_without_a_rule_gets_one_line(llama):
    llama._init_weights = lambda module: None
    with pytest.raises(StudyError, match="LlamaForCausalLM has no rule for model.norm.weight"):
        starts.draw(llama, ["model.norm.weight"], "xavier", 20)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_norms_stored_as_one_plus_w_start_at_zero(architecture):
    drawn = starts.draw(gemma := build(architecture), names(gemma), "xavier", 20)
    norms = [tensor for name, tensor in drawn.items() if "norm" in name]
    assert norms and all(not tensor.any() for tensor in norms)


def test_a_tensor_depends_on_seed_and_name_only(llama):
    alone = starts.draw(llama, ["model.layers.1.mlp.up_proj.weight"], "xavier", 20)
    together = starts.draw(llama, names(llama), "xavier", 20)
    for name, tensor in alone.items():
        assert torch.equal(tensor, together[name])
    other = starts.draw(llama, list(alone), "xavier", 42)
    assert not any(torch.equal(alone[name], other[name]) for name in alone)


def test_scales():
    shape = torch.Size((300, 200))
    bound = math.sqrt(6 / 500)
    drawn = starts.xavier(shape, starts.generator(20, "w"))
    assert drawn.abs().max() <= bound and drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    drawn = starts.normal(shape, starts.generator(20, "w"))
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)


def test_unknown_start(llama):
    with pytest.raises(StudyError, match="start 'zeros': unknown; choose one of xavier"):
        starts.draw(llama, names(llama), "zeros", 20)


def test_which_starts_depend_on_the_set():
    assert {start: starts.depends_on_set(start) for start in starts.STARTS} == {
        "xavier": False, "normal_0.02": False, "scale_matched": True, "neighbour_copy": True, "skip": False,
        "skip_neighbour": True, "public_base": False,
    }  # fmt: skip
    with pytest.raises(StudyError, match="start 'zeros': unknown"):
        starts.depends_on_set("zeros")


def test_experts_are_drawn_one_by_one():
    mixtral = build("mixtral")
    (name,) = [name for name in names(mixtral) if name.endswith("1.mlp.experts.down_proj")]
    drawn = starts.draw(mixtral, [name], "xavier", 20)[name]  # (experts, width, inner)
    assert drawn.shape == (3, 16, 32)
    stream = starts.generator(20, name)
    for expert in drawn:
        assert torch.equal(expert, starts.xavier(torch.Size((16, 32)), stream))
    assert not torch.equal(drawn[0], drawn[1])
    assert drawn.abs().max() <= math.sqrt(6 / 48)


def test_scale_matched(llama):
    with torch.no_grad():
        for layer, parameter in enumerate(llama.get_parameter(UP.format(layer)) for layer in range(4)):
            parameter.normal_(0.0, 0.1 * (layer + 1))
        llama.get_parameter("model.layers.2.input_layernorm.weight").fill_(2.0)
        llama.get_parameter("model.layers.3.input_layernorm.weight").fill_(5.0)
    secret = secured_set(llama, "bottom 2").names
    drawn = starts.draw(llama, secret, "scale_matched", 20)
    rms = [llama.get_parameter(UP.format(layer)).square().mean().sqrt().item() for layer in (2, 3)]
    unit = starts.normal(torch.Size((32, 16)), starts.generator(20, UP.format(0)), scale=1.0)
    assert torch.allclose(drawn[UP.format(0)], unit * sum(rms) / 2)
    assert torch.equal(drawn["model.layers.0.input_layernorm.weight"], torch.full((16,), 3.5))
    first, second = (drawn[f"model.layers.{layer}.input_layernorm.weight"] for layer in (0, 1))
    assert first.data_ptr() != second.data_ptr()


def test_neighbours_are_copied(llama):
    def copied(declaration, layer, name="mlp.up_proj.weight"):
        drawn = starts.draw(llama, secured_set(llama, declaration).names, "neighbour_copy", 20)
        tensor = drawn[f"model.layers.{layer}.{name}"]
        own = [llama.get_parameter(f"model.layers.{other}.{name}") for other in range(4)]
        assert tensor.data_ptr() not in [parameter.data_ptr() for parameter in own]
        return [other for other in range(4) if torch.equal(tensor, own[other])]

    assert copied("bottom 2", 0) == copied("bottom 2", 1) == [2]
    assert copied("layers 1", 1) == [2]  # as near as 0: the one above
    assert copied("top 2", 3) == copied("top 2", 2) == [1]
    assert copied("layers 0,3", 3) == [2]
    assert copied("layers 0 + layer 1 up", 0) == [2]
    assert copied("layers 0 + layer 1 up", 0, "mlp.down_proj.weight") == [1]


@pytest.mark.parametrize("start", ["scale_matched", "neighbour_copy"])
@pytest.mark.parametrize("declaration", ["all", "layers 0-3", "head"])
def test_where_nothing_is_open_the_start_is_normal(llama, start, declaration):
    secret = secured_set(llama, declaration).names
    drawn, plain = (starts.draw(llama, secret, chosen, 20) for chosen in (start, "normal_0.02"))
    assert all(torch.equal(drawn[name], plain[name]) for name in secret)


def test_a_skipped_layer_hands_its_input_on(model, samples):
    secret = secured_set(model, "layers 1-2").names
    starts.apply(model, starts.draw(model, secret, "skip", 20))
    ids, mask = pad([sample["input_ids"] for sample in samples], 0)
    with torch.no_grad(), watched(DecoderLayers(model), [0, 2]) as states:
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    pre_norm = getattr(model.config, "do_layer_norm_before", True)
    assert torch.equal(states[0], states[2]) == pre_norm


NEAREST = {"layers 1-2": {1: 0, 2: 3}, "bottom 1": {0: 1}}  # the open layer next to each secret one


@pytest.mark.parametrize("declaration", NEAREST)
def test_a_layer_that_is_skipped_has_the_neighbours_vectors(model, samples, declaration):
    """Checked with a plain forward; what has other values in every layer shows which one was copied."""
    with torch.no_grad():
        for number, inside in enumerate(layer_parameters(model)):
            for name in inside:
                if model.get_parameter(name).ndim < 2:
                    model.get_parameter(name).fill_(0.5 + number)
    secret = secured_set(model, declaration).names
    original = {name: tensor.clone() for name, tensor in model.named_parameters()}
    drawn, skipped = (starts.draw(model, secret, start, 20) for start in ("skip_neighbour", "skip"))
    for name, tensor in drawn.items():
        layer = int(re.search(r"\.(\d+)\.", name)[1])
        nearest = original[name.replace(f".{layer}.", f".{NEAREST[declaration][layer]}.", 1)]
        copied = tensor.ndim < 2 and role_of(name) not in ("o", "down")
        assert torch.equal(tensor, nearest if copied else skipped[name]), name
    starts.apply(model, drawn)
    ids = torch.tensor([samples[2]["input_ids"]])
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    first, last = {"layers 1-2": (1, 3), "bottom 1": (0, 1)}[declaration]
    if getattr(model.config, "do_layer_norm_before", True):
        assert torch.equal(states[first], states[last])


def test_vectors_come_from_above_where_nothing_below_is_open_and_a_matrix_keeps_its_own_bias(llama):
    qwen = build("qwen2")
    with torch.no_grad():
        for number in range(4):
            qwen.get_parameter(f"model.layers.{number}.self_attn.k_proj.bias").fill_(number)
    drawn = starts.draw(qwen, secured_set(qwen, "layer 0 k").names, "skip_neighbour", 20)
    assert drawn["model.layers.0.self_attn.k_proj.bias"].tolist() == [1.0] * 8
    drawn = starts.draw(qwen, secured_set(qwen, "bottom 3").names, "skip_neighbour", 20)
    assert {drawn[f"model.layers.{n}.self_attn.k_proj.bias"][0].item() for n in range(3)} == {3.0}
    (matrix,) = starts.draw(llama, secured_set(llama, "layer 0 down").names, "skip_neighbour", 20).values()
    assert not matrix.any()


@pytest.mark.parametrize("declaration", ["all", "layers 0-3", "fully_secured"])
def test_where_no_layer_is_open_there_is_no_neighbour(llama, declaration):
    with pytest.raises(StudyError, match="no open decoder layer has a input_layernorm.weight to copy; use start: skip"):
        starts.draw(llama, secured_set(llama, declaration).names, "skip_neighbour", 20)


def test_skip_zeroes_only_what_writes_to_the_residual_stream(llama):
    drawn, plain = (starts.draw(llama, names(llama), start, 20) for start in ("skip", "normal_0.02"))
    for name in drawn:
        writes = "o_proj" in name or "down_proj" in name
        assert not drawn[name].any() if writes else torch.equal(drawn[name], plain[name])


def test_skip_refuses_experts_without_names():
    with torch.device("meta"):
        moe = AutoModelForCausalLM.from_config(JetMoeConfig(**SMALL, **ENDS))
    with pytest.raises(StudyError, match="start 'skip': what layer 1 of JetMoeForCausalLM adds"):
        starts.draw(moe, secured_set(moe, "layers 1").names, "skip", 20)
    starts.draw(moe, secured_set(moe, "head + embeddings").names, "skip", 20)


def test_public_base(llama):
    """The secret part comes from the base, and nothing of the victim is read; the whole model is the base itself."""
    base = build("llama-tied")
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(1)
        for parameter in llama.parameters():
            parameter.fill_(math.nan)
    tensors = dict(base.bfloat16().named_parameters())
    for declaration in ("layers 1-2", "layer 0 q + embeddings"):
        secret = secured_set(llama, declaration).names
        drawn = starts.draw(llama, secret, "public_base", 20, base=tensors.get)
        assert list(drawn) == list(secret)
        for name in secret:
            assert torch.equal(drawn[name], tensors[name].float())
            assert drawn[name].data_ptr() != tensors[name].data_ptr()
    whole, original = build("llama"), build("llama")
    everything = {name: parameter + 1 for name, parameter in original.named_parameters()}
    starts.apply(whole, starts.draw(whole, names(whole), "public_base", 20, base=everything.get))
    assert all(torch.equal(parameter, everything[name]) for name, parameter in whole.named_parameters())


def test_a_public_base_must_be_there_and_fit(llama):
    secret = secured_set(llama, "layers 1").names
    with pytest.raises(StudyError, match="no public base is known; name one"):
        starts.draw(llama, secret, "public_base", 20)
    with pytest.raises(StudyError, match=r"model.layers.1.self_attn.q_proj.weight is missing in the base"):
        starts.draw(llama, secret, "public_base", 20, base={}.get)
    with pytest.raises(StudyError, match=r"is of shape \(2, 3\), not \(16, 16\), in the base"):
        starts.draw(llama, secret, "public_base", 20, base=lambda _: torch.zeros(2, 3))
