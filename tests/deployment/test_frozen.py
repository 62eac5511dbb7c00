"""frozen: what is secured is not trained, not adapted, not changed, in a plain model and in one that peft wrapped."""

import copy

import peft
import pytest
import torch
from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.deployment.frozen import frozen
from solid_utils.deployment.secured import secured_set
from solid_utils.model import tensors
from solid_utils.training import lora
from tests.conftest import build

QUERY = "model.layers.0.self_attn.q_proj"


def wrap(model, **options):
    return peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", **options))


def no_gradients(model, secured):
    for name, parameter in model.named_parameters():
        if name in secured.names:
            parameter.requires_grad_(False)
    return model


@pytest.fixture
def secured(llama):
    return secured_set(llama, "bottom 1")


def test_a_model_that_trains_what_is_open_passes_with_the_digests(llama, secured):
    wanted = {name: tensors.digest(parameter) for name, parameter in llama.named_parameters() if name in secured.names}
    assert frozen(no_gradients(llama, secured), secured) == wanted
    adapted = wrap(llama, target_modules=lora.open_matrices(llama, secured))
    assert frozen(adapted, secured, wanted) == wanted
    assert frozen(adapted, secured_set(build("llama"), "none")) == {}


@pytest.mark.parametrize("kind", [peft.PromptTuningConfig, peft.PrefixTuningConfig])
def test_prompt_learning_trains_what_is_open(llama, secured, kind):
    """There peft's base_model is the model itself, without a wrapper between."""
    wanted = {name: tensors.digest(parameter) for name, parameter in llama.named_parameters() if name in secured.names}
    adapted = peft.get_peft_model(llama, kind(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    assert any(parameter.requires_grad for parameter in adapted.parameters())
    assert frozen(adapted, secured) == wanted
    llama.get_parameter(f"{QUERY}.weight").requires_grad_(True)
    with pytest.raises(StudyError, match=rf"^{QUERY}.weight: secured by 'bottom 1' and trained"):
        frozen(adapted, secured)
    no_gradients(llama, secured).get_submodule(QUERY).register_parameter("down", nn.Parameter(torch.ones(2)))
    with pytest.raises(StudyError, match=rf"{QUERY}.down: trained inside a layer that 'bottom 1' secures"):
        frozen(adapted, secured)


def test_a_trained_secured_tensor_is_named(llama, secured):
    no_gradients(llama, secured)
    llama.get_parameter(f"{QUERY}.weight").requires_grad_(True)
    with pytest.raises(StudyError, match=rf"^{QUERY}.weight: secured by 'bottom 1' and trained; train open"):
        frozen(llama, secured)


def test_an_adapter_on_a_secured_module_is_named(llama, secured):
    adapted = wrap(llama, target_modules=["q_proj"])  # of all layers
    with pytest.raises(StudyError, match=rf"^{QUERY}.weight: secured by 'bottom 1', and .*q_proj.lora_A.*; adapt open"):
        frozen(adapted, secured)


def test_an_empty_list_of_layers_means_all_to_peft(llama, secured):
    adapted = wrap(llama, target_modules=["q_proj"], layers_to_transform=[])
    with pytest.raises(StudyError, match="stands beside it"):
        frozen(adapted, secured)


def test_a_frozen_adapter_is_one_too(llama, secured):
    adapted = wrap(llama, target_modules=["q_proj"])
    for parameter in adapted.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(StudyError, match="stands beside it"):
        frozen(adapted, secured)


def test_a_copy_that_peft_trains_wholly_is_named(llama):
    everything_after = secured_set(llama, "top 1 + head")
    opened = [name for name in lora.open_matrices(llama, everything_after)]
    adapted = wrap(llama, target_modules=opened, modules_to_save=["lm_head"])
    with pytest.raises(StudyError, match=r"^lm_head.weight: secured by .*modules_to_save.* stands beside it"):
        frozen(adapted, everything_after)


def test_tied_tensors_are_one_under_whatever_name():
    tied = build("llama-tied")
    secured = secured_set(tied, "embeddings")
    adapted = wrap(tied, target_modules=["lm_head"])
    with pytest.raises(StudyError, match=r"^model.embed_tokens.weight: secured by 'embeddings', and .*lm_head.lora_A"):
        frozen(adapted, secured)


def test_an_adapter_added_by_hand_is_named(llama, secured):
    no_gradients(llama, secured)

    class ByHand(nn.Module):
        def __init__(self, base_layer):
            super().__init__()
            self.base_layer, self.down = base_layer, nn.Linear(base_layer.in_features, 2)
            self.up = nn.Linear(2, base_layer.out_features)

        def forward(self, state):
            return self.base_layer(state) + self.up(self.down(state))

    wrapped = copy.deepcopy(llama)
    wrapped.set_submodule(QUERY, ByHand(wrapped.get_submodule(QUERY)))
    with pytest.raises(StudyError, match=rf"^{QUERY}.weight: .*down.weight stands beside it"):
        frozen(wrapped, secured)
    llama.get_submodule(QUERY).register_parameter("down", nn.Parameter(torch.ones(2)))
    with pytest.raises(StudyError, match=rf"^{QUERY}.down: trained inside a layer that 'bottom 1' secures"):
        frozen(llama, secured)


def test_a_tensor_that_changed_is_named(llama, secured):
    before = frozen(no_gradients(llama, secured), secured)
    with torch.no_grad():
        llama.get_parameter(f"{QUERY}.weight")[0, 0] += 1e-6
    with pytest.raises(StudyError, match=rf"^{QUERY}.weight: .* its sha256 is not what it was before training"):
        frozen(llama, secured, before)


def test_a_merge_into_a_secured_matrix_is_a_change(llama, secured):
    before = frozen(no_gradients(llama, secured), secured)
    adapted = wrap(llama, target_modules=["q_proj"])
    nn.init.ones_(adapted.get_parameter(f"base_model.model.{QUERY}.lora_B.default.weight"))
    merged = no_gradients(adapted.merge_and_unload(), secured)
    with pytest.raises(StudyError, match="its sha256 is not what it was"):
        frozen(merged, secured, before)


def test_another_model_is_refused(llama, secured):
    other = build("gpt2")
    with pytest.raises(
        StudyError, match=r"^model\.layers\.0\..*: secured by 'bottom 1', and no parameter of this GPT2"
    ):
        frozen(other, secured)


def test_an_adapter_on_open_experts_leaves_the_secret_ones_beside_them_alone():
    model = build("mixtral")
    secured = secured_set(model, "bottom 1")
    stacks = lora.open_stacks(model, secured)
    assert frozen(wrap(copy.deepcopy(model), target_modules=[], target_parameters=stacks), secured)
    every = [name for name, one in model.named_parameters() if ".experts." in name and one.ndim == 3]
    with pytest.raises(StudyError, match=r"^model\.layers\.0\..*experts.*stands beside it"):
        frozen(wrap(model, target_modules=[], target_parameters=every), secured)
