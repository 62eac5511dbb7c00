import torch

from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers
from tests.conftest import watched


def test_boundary_states_are_those_of_the_plain_model(model, samples):
    ids, mask = pad([sample["input_ids"] for sample in samples], 0)
    captured = {}
    layers = DecoderLayers(model)
    with torch.no_grad():
        for last in range(len(layers)):
            with watched(layers, [last]) as states:
                model(input_ids=ids, attention_mask=mask, use_cache=False)
            captured[last] = states[last]
        for last, expected in captured.items():
            # Of real tokens: what padding turns into is nobody's business, and differs.
            torch.testing.assert_close(layers.boundary(ids, last)[mask.bool()], expected[mask.bool()])


def test_a_forward_begun_at_a_state_ends_as_the_plain_one(model, samples):
    ids, mask = pad([sample["input_ids"] for sample in samples], 0)
    layers, plain = DecoderLayers(model), model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    for last in range(len(layers)):
        with layers.leaving(layers.boundary(ids, last), last):
            begun = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        torch.testing.assert_close(begun[mask.bool()], plain[mask.bool()])


def test_replaced_layers_come_back(llama, samples):
    ids, mask = pad([sample["input_ids"] for sample in samples], 0)
    layers = DecoderLayers(llama)
    with torch.no_grad():
        before = llama(input_ids=ids, attention_mask=mask).logits
        with layers.replaced({1: layers.skip}):
            assert not torch.equal(llama(input_ids=ids, attention_mask=mask).logits, before)
        assert torch.equal(llama(input_ids=ids, attention_mask=mask).logits, before)
