"""What is asked of a model before an attack: is it causal, may it be padded, may work begin at recorded states?"""

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.model import guard, habits
from solid_utils.model.forward import LastLogits, shares_prefixes
from solid_utils.model.generation import alike, generate, pads_left
from solid_utils.training import lora
from tests.cases import architectures


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(guard, "_passed", set())
    monkeypatch.setattr(habits, "_known", {})


@pytest.mark.parametrize("first", [0, 1, 4])
def test_a_usual_decoder_passes_wherever_work_begins(llama, samples, first):
    guard.check(llama, samples, 0, first)


def test_two_texts_of_different_lengths_are_taken(samples):
    rows = guard.texts([{"input_ids": list(range(1, 50))}] * 2)
    assert [len(row) for row in rows] == [32, 24]
    assert guard.texts(samples[:1])[0] == samples[0]["input_ids"]


def test_a_model_that_looks_ahead_is_refused(samples):
    with pytest.raises(StudyError, match="BertLMHeadModel looks ahead: .*nothing was run"):
        guard.check(architectures.build("bert-both-ways", {"is_decoder": False}), samples, 0)


def test_where_layers_hand_state_on_no_attack_begins_above_the_first_layer(samples):
    """It would find nothing of the layers below, which do not run: once a KeyError, an hour later."""
    model = architectures.build("gemma4_text", architectures.RIGHT["gemma4_text"])
    guard.check(model, samples, 0)
    with pytest.raises(StudyError, match="begun at what enters layer 2: .*KeyError"):
        guard.check(model, samples, 0, first=2)


def test_a_batch_that_moves_with_its_padding_is_refused(llama, samples, monkeypatch):
    true = guard.answer_logits
    monkeypatch.setattr(guard, "answer_logits", lambda *inputs: 1.01 * true(*inputs))
    with pytest.raises(StudyError, match="in a padded batch logits are off by"):
        guard.check(llama, samples, 0)


def test_an_architecture_is_asked_once(llama, samples, monkeypatch):
    guard.check(llama, samples, 0)
    monkeypatch.setattr(guard, "plain", None)
    guard.check(llama, samples, 0)


def test_encoders_are_refused_by_their_configuration():
    with pytest.raises(StudyError, match=r"here: bart is an encoder with a decoder"):
        guard.check_config(architectures.CONFIG_MAPPING["bart"](), "here")
    guard.check_config(architectures.config("bert", {}), "here")


PROMPTS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15, 16]]


def test_a_model_that_reads_padding_on_the_left_gets_prompts_of_equal_length(capsys):
    model = architectures.build("falcon_mamba", {})
    model.generation_config.eos_token_id = 96
    monkey = model.forward

    def blind(*args, attention_mask=None, **inputs):
        return monkey(*args, **inputs)  # a recurrent model that reads padding as text

    model.forward = blind
    assert alike(model, PROMPTS, [[0, 2]]) == [[0, 2]]  # equal already, nothing to ask
    groups = alike(model, PROMPTS, [[0, 1, 2]])
    assert groups == [[0, 2], [1]] and "only prompts of equal length share a batch" in capsys.readouterr().out
    for group in groups:
        together = generate(model, [PROMPTS[number] for number in group], 3, 0)
        assert together == [generate(model, [PROMPTS[number]], 3, 0)[0] for number in group]


def test_prefixes_are_shared_only_where_that_changes_nothing(llama, capsys, monkeypatch):
    assert shares_prefixes(llama, 10) and pads_left(llama) and capsys.readouterr().out == ""
    monkeypatch.setattr(habits, "_known", {})
    cache = LastLogits._prefix_cache

    def wrong(self, families):
        keys, mask = cache(self, families)
        keys.layers[0].keys = keys.layers[0].keys + 1
        return keys, mask

    monkeypatch.setattr(LastLogits, "_prefix_cache", wrong)
    assert not shares_prefixes(llama, 10) and "nothing is shared" in capsys.readouterr().out


def test_it_is_said_how_much_of_the_open_part_lora_reaches(llama):
    assert lora.reach(llama, secured_set(llama, "bottom 1")) == (
        "LoRA reaches 100.0% of the weights in open layers' matrices"
    )
    experts = architectures.build("mixtral", {})
    said = lora.reach(experts, secured_set(experts, "bottom 1"))
    attention, stacks = 16 * 16 * 2 + 16 * 8 * 2, 3 * 3 * 16 * 32
    router = 3 * 16
    assert said.startswith(f"LoRA reaches {attention / (attention + stacks + router):.1%} of")
    assert "not model.layers.1.mlp" in said and torch.is_tensor(next(experts.parameters()))
