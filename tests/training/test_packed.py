"""Batches without padding: the same loss and gradients as padded ones, or padded where a model cannot do it."""

import peft
import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.customization.declared import declared
from solid_utils.settings.customization_params import CustomizationBudget
from solid_utils.training import packed, training
from tests.conftest import CONFIGS, build

PADDED = {"falcon", "gemma2", "gemma3", "mistral"}  # no such attention, or windows shorter than these texts


def gradients(model, loss, batch):
    """Loss, and the gradient of every parameter by name."""
    model.zero_grad()
    value = loss(model, batch)
    value.backward()
    return value.item(), {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def assert_same(model, batch):
    ours, our_gradients = gradients(model, packed.packed_loss, batch)
    theirs, their_gradients = gradients(model, training.answer_loss, batch)
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert their_gradients
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_loss_and_gradients_are_those_of_padded_batches(architecture, samples):
    model = build(architecture)
    assert packed.packs(model, 12) == (architecture not in PADDED)
    assert_same(model, training.Collator(0)(samples))
    assert model.config._attn_implementation in ("sdpa", "eager")  # as it was


def test_adapters_are_trained_alike(llama, samples):
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    assert_same(peft.get_peft_model(llama, config), training.Collator(0)(samples))


def test_no_work_is_done_on_padding(llama, samples):
    seen = []
    llama.model.layers[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[:2]))
    packed.packs(llama, 12)
    seen.clear()
    packed.packed_loss(llama, training.Collator(0)(samples))
    assert seen == [(1, sum(len(sample["input_ids"]) for sample in samples))]


@pytest.mark.parametrize(
    ("options", "word"), [({"cache": 0.5, "method": "full"}, "cache"), ({"method": "simpo"}, "TRL")]
)
def test_what_cannot_be_packed_is_refused(options, word):
    section = {"batch": 2, "steps": 1, "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "constant"}
    section |= {"validate_every": 1, "samples": 2, "validation": 1, "test": 1, "packed": True}
    with pytest.raises(StudyError, match=word):
        declared(CustomizationBudget(**section | options), "here")
