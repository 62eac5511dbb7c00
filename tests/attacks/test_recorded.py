"""What is computed once and recorded trains the same replica as a plain run, and fails in one line where it cannot."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from solid_utils.attacks import distances, part
from solid_utils.attacks.recorded import answer_logits
from solid_utils.core import machine
from solid_utils.core.errors import StudyError
from solid_utils.deployment import oracle, view
from solid_utils.deployment.secured import secured_set
from solid_utils.training import recorded, training
from tests.attacks.test_attacks import attack, attacker, declared, recording, run


def test_recorded_states_are_those_of_the_plain_model(model, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "TOKENS", 20)  # several batches,
    monkeypatch.setattr(recorded, "FILE_BYTES", 1)  # each a file of its own
    states = part.entered(
        model, view.view(model, secured_set(model, "layers 2")), dict(enumerate(samples)), tmp_path, 0
    )
    assert len(list(tmp_path.iterdir())) > 1
    for number, sample in enumerate(samples):
        with torch.no_grad():
            plain = model(input_ids=torch.tensor([sample["input_ids"]]), output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(states.of(torch.tensor([number])), plain)


def plain_sem(victim, secured, model):
    """SEM without a shortcut: the whole victim and the whole replica in every step."""
    seen = view.view(model, secured)

    def leaving(which, batch):
        output = which(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
        states = output.logits if seen.outputs_only else output.hidden_states[seen.last + 1]
        return states[batch["attention_mask"].bool()]

    def loss(_, batch):
        with torch.no_grad():
            target = leaving(victim, batch).bfloat16().float()
        return distances.relative_mse(leaving(model, batch), target).mean()

    return loss


@pytest.mark.parametrize(
    ("name", "declaration"),
    [
        ("sem", "layers 0"),
        ("sem", "layers 1-2"),
        ("sem", "layers 2-3 + head"),
        ("sem", "head"),
        ("ft_closed", "top 1"),
        ("ft_closed", "layers 1,3"),
    ],
)
def test_a_recorded_run_ends_at_the_replica_of_a_plain_one(name, declaration, llama, samples, tmp_path):
    secured = declared(llama, declaration)
    plain, model = attacker(llama, secured), attacker(llama, secured)
    answers = recording(llama, secured, samples, tmp_path) if name == "sem" else None
    plan = attack(name, model, secured, samples, tmp_path, answers)
    loss = plain_sem(llama, secured, plain) if name == "sem" else training.answer_loss
    expected = run(replace(plan, loss=loss), plain, tmp_path / "plain")
    start = dict(attacker(llama, secured).named_parameters())
    for key, tensor in run(plan, model, tmp_path).items():
        torch.testing.assert_close(tensor, expected[key], atol=1e-4, rtol=1e-4)
        assert torch.equal(tensor, start[key]) == (key not in secured.names)


@pytest.mark.parametrize(("name", "declaration"), [("ft_all", "layers 0"), ("ft_closed", "top 1")])
def test_recorded_logits_train_the_replica_of_a_plain_distillation(name, declaration, llama, samples, tmp_path):
    secured = secured_set(llama, declaration)
    asked = oracle.Oracle(llama, secured, 0)
    logits = answer_logits(asked, dict(enumerate(samples)), tmp_path / "logits")
    assert asked.sequences == len(samples)
    model, plain = attacker(llama, secured), attacker(llama, secured)
    plan = attack(name, model, secured, samples, tmp_path, logits)

    def loss(_, batch):
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        with torch.no_grad():
            theirs = llama(**inputs).logits[batch["keep"]].bfloat16().float()
        own = plain(**inputs).logits[batch["keep"]]
        return kl_divergence(Categorical(logits=theirs), Categorical(logits=own)).mean()

    expected = run(replace(plan, loss=loss), plain, tmp_path / "plain")
    for key, tensor in run(plan, model, tmp_path).items():
        torch.testing.assert_close(tensor, expected[key], atol=1e-4, rtol=1e-4)


def test_noise_on_an_answers_logits_is_that_of_the_whole_query(llama, samples):
    batch = training.Collator(0)(samples)
    real, keep = batch["attention_mask"].bool(), batch["keep"]
    asked = oracle.Oracle(llama, declared(llama, "sap_dp"), 0)
    inputs = batch["input_ids"], batch["attention_mask"]
    torch.testing.assert_close(asked.outputs(*inputs, keep), asked.outputs(*inputs)[keep[real]])


def test_a_file_that_is_there_is_not_made_again(llama, samples, tmp_path):
    made = recording(llama, secured_set(llama, "layers 0"), samples, tmp_path).of(torch.arange(5))
    other = attacker(llama, secured_set(llama, "layers 0"))  # another victim would answer otherwise
    again = recording(other, secured_set(llama, "layers 0"), samples, tmp_path).of(torch.arange(5))
    assert torch.equal(made, again)


@pytest.mark.parametrize("roomy", [True, False])
def test_rows_stay_on_an_accelerator_while_there_is_room(roomy, llama, samples, tmp_path, monkeypatch):
    made = recording(llama, secured_set(llama, "layers 0"), samples, tmp_path)
    monkeypatch.setattr(recorded.accelerator, "half_free", lambda: roomy)
    elsewhere = torch.device("meta")
    first = made.on(elsewhere, 3)
    assert first.shape == made.row(3).shape and first.device == elsewhere
    assert (made.on(elsewhere, 3) is first) == roomy


def test_too_small_a_disk_stops_before_the_run(llama, samples, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(StudyError, match="answers of 5 sequences needs 0.0 GB, 0.0 GB free"):
        recording(llama, secured_set(llama, "layers 0"), samples, tmp_path)
    assert "disk: answers of 5 sequences needs about 0.0 GB, 0.0 GB free" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_line(llama, samples, tmp_path):
    (tmp_path / "answers").write_text("a file where the folder should be")
    with pytest.raises(StudyError, match="answers/000000.safetensors: cannot be written"):
        recording(llama, secured_set(llama, "layers 0"), samples, tmp_path)
