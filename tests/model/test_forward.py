"""Logits where they are wanted equal the plain model's; batches hold what they promise."""

from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, Gemma2Config, Lfm2Config, MambaConfig

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import (
    LastLogits,
    answer_logits,
    answer_positions,
    length_batches,
    measuring,
    pad,
    shared_prefixes,
    shares_prefixes,
)
from tests.conftest import VOCABULARY, build


def close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.allclose(first, second, atol=1e-5, rtol=1e-5)


def test_answer_positions_stand_one_before_the_answer_tokens():
    whole = {"input_ids": [5, 6, 7, 8], "answer_start": 1}
    prompted, text = {"input_ids": [5, 6, 7], "answer_start": 2}, {"input_ids": [5, 6], "answer_start": 2}
    samples = [whole, prompted, text]
    _, mask = pad([sample["input_ids"] for sample in samples], 0)
    assert answer_positions(samples, mask).tolist() == [
        [True, True, True, False],
        [False, True, False, False],
        [False] * 4,
    ]


@pytest.fixture
def batch(samples):
    """Right-padded samples, and the positions that predict their answers."""
    input_ids, mask = pad([sample["input_ids"] for sample in samples], 0)
    keep = torch.zeros_like(mask, dtype=torch.bool)
    for row, sample in enumerate(samples):
        keep[row, sample["answer_start"] - 1 : len(sample["input_ids"]) - 1] = True
    return input_ids, mask, keep


def test_answer_logits_equal_the_plain_models(model, batch):
    input_ids, mask, keep = batch
    with torch.no_grad():
        plain = model(input_ids=input_ids, attention_mask=mask).logits
        logits = answer_logits(model, input_ids, mask, keep)
        assert logits.shape == (keep.sum(), VOCABULARY)
        assert logits.dtype == plain.dtype
        assert close(logits, plain[keep])
        # The hook is gone: the next plain forward gives all positions.
        assert model(input_ids=input_ids, attention_mask=mask).logits.shape == plain.shape


def test_gradients_flow_as_through_the_plain_model(llama, batch):
    input_ids, mask, keep = batch
    gradients = []
    for logits in (answer_logits(llama, *batch), llama(input_ids=input_ids, attention_mask=mask).logits[keep]):
        llama.zero_grad()
        logits.logsumexp(1).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in llama.parameters()])
    assert all(torch.allclose(first, second, atol=1e-4) for first, second in zip(*gradients, strict=True))


def test_the_hook_is_removed_after_a_failure(llama, batch):
    input_ids, mask, keep = batch
    with pytest.raises(IndexError):
        answer_logits(llama, input_ids + VOCABULARY, mask, keep)
    assert not llama.get_output_embeddings()._forward_pre_hooks


def test_a_model_without_a_head_gets_one_line(llama, batch):
    with pytest.raises(StudyError, match="no output head; use a causal language model"):
        answer_logits(AutoModel.from_config(llama.config), *batch)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200), st.integers(0, 80), st.integers(0, 9))
def test_length_batches_hold_the_budget(lengths, token_budget, fixed, held):
    batches = length_batches(lengths, token_budget, fixed, held)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert flat == sorted(flat, key=lambda index: (-lengths[index], index))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (max(lengths[index] for index in batch) + held) <= token_budget


@given(st.lists(st.integers(1, 20), min_size=1, max_size=7), st.integers(1, 60), st.integers(0, 30))
def test_no_other_cut_into_batches_is_less_work(lengths, token_budget, fixed):
    def work(batches):
        return sum(len(batch) * batch[0] + fixed for batch in batches)

    ranked = sorted(lengths, reverse=True)
    cuts = [
        [ranked[first:last] for first, last in pairwise([0, *inner, len(ranked)])]
        for count in range(len(ranked))
        for inner in combinations(range(1, len(ranked)), count)
    ]
    allowed = [cut for cut in cuts if all(len(batch) == 1 or len(batch) * batch[0] <= token_budget for batch in cut)]
    found = [[lengths[index] for index in batch] for batch in length_batches(lengths, token_budget, fixed)]
    assert work(found) == min(map(work, allowed))


def test_length_batches_by_hand():
    assert length_batches([3, 5, 5, 1, 4], 10, fixed=2) == [[1, 2], [4, 0], [3]]
    assert length_batches([3, 5, 5, 1, 4], 10, fixed=0) == [[1, 2], [4], [0], [3]]


def test_pad():
    input_ids, mask = pad([[5, 6, 7], (8,)], 9)
    assert input_ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("training", [True, False])
def test_measuring_restores_the_mode(llama, training):
    llama.train(training)
    with pytest.raises(ZeroDivisionError), measuring(llama):
        assert not llama.training
        assert not torch.is_grad_enabled()
        raise ZeroDivisionError
    assert llama.training is training
    assert torch.is_grad_enabled()


token_rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), min_size=1, unique=True)


@given(token_rows.map(sorted), st.data())
def test_families_share_what_they_say(rows, data):
    kept = [data.draw(st.integers(1, len(row))) for row in rows]
    families = shared_prefixes(rows, kept)
    assert sorted(index for _, members in families for index in members) == list(range(len(rows)))
    for prefix, members in families:
        assert len({rows[index][:prefix] for index in members}) == 1
        assert all(prefix <= len(rows[index]) - kept[index] for index in members)
        assert prefix == 0 or 2 * prefix >= max(len(rows[index]) for index in members)
    assert sum(prefix == 0 for prefix, _ in families) <= 1


def questions() -> tuple[list[tuple[int, ...]], list[int]]:
    """Sorted rows: two contexts of different lengths with three endings each, and two rows without kin."""
    generator = torch.Generator().manual_seed(3)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, VOCABULARY, (count,), generator=generator).tolist())

    rows = {context + tokens(count): count + 1 for context in (tokens(14), tokens(9)) for count in (2, 5, 3)}
    rows |= {tokens(11): 4, tokens(6): 1}
    return sorted(rows), [rows[row] for row in sorted(rows)]


def one_by_one(model, rows, kept) -> list[torch.Tensor]:
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).logits[0, -count:] for row, count in zip(rows, kept, strict=True)]


@pytest.mark.parametrize("token_budget", [40, 1000])
def test_last_logits_equal_one_forward_a_row(model, token_budget):
    rows, kept = questions()
    with torch.no_grad():
        found = dict(LastLogits(model, rows, kept, 0, token_budget))
    assert sorted(found) == list(range(len(rows)))
    assert all(close(found[index], plain) for index, plain in enumerate(one_by_one(model, rows, kept)))


def test_sliding_window_models_share_within_the_window():
    config = build("gemma2").config.to_dict() | {"sliding_window": 32}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Gemma2Config(**config)).eval()
    rows, kept = questions()
    assert shares_prefixes(model, 32)
    assert not shares_prefixes(model, 33)
    with torch.no_grad():
        found = dict(LastLogits(model, rows, kept, 0, 60))
    assert all(close(found[index], plain) for index, plain in enumerate(one_by_one(model, rows, kept)))


@pytest.mark.parametrize("recurrent", ["mamba", "lfm2"])
def test_recurrent_models_do_not_share(recurrent):
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "pad_token_id": 0}
    heads = {"intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    layers = {"layer_types": ["conv", "full_attention"]}
    config = MambaConfig(**shape, state_size=4) if recurrent == "mamba" else Lfm2Config(**shape, **heads, **layers)
    model = AutoModelForCausalLM.from_config(config).eval()
    rows, kept = questions()
    assert not shares_prefixes(model, 10)
    with torch.no_grad():
        found = dict(LastLogits(model, rows, kept, 0, 1000))
    assert all(close(found[index], plain) for index, plain in enumerate(one_by_one(model, rows, kept)))


def test_adapted_models_share(llama):
    rows, kept = questions()
    adapted = get_peft_model(llama, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).eval()
    assert shares_prefixes(adapted, 100)
    with torch.no_grad():
        found = dict(LastLogits(adapted, rows, kept, 0, 1000))
    assert all(close(found[index], plain) for index, plain in enumerate(one_by_one(adapted, rows, kept)))


def test_shared_prefixes_are_computed_once(llama):
    rows, kept = questions()
    seen = []
    llama.get_input_embeddings().register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].numel()))
    with torch.no_grad():
        list(LastLogits(llama, rows, kept, 0, 1000))
    # Padded: the two rows alone, two prefixes, six endings (each with the last token of its context).
    assert seen == [2 * 11, 2 * 13, 6 * 6]
