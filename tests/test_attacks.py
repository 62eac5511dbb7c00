"""Attacks see the oracle and the open weights, nothing else; SEM recovers a layer of a trained model."""

import math

import pytest
import torch

from solid_utils import starts, training
from solid_utils.attacks import ft, oracle, sem
from solid_utils.errors import StudyError
from solid_utils.models import clone
from solid_utils.params import Recipe
from solid_utils.secured import secured_set
from tests.conftest import build

RECIPE = Recipe(batch=2, steps=4, learning_rate=1e-2, weight_decay=0.0, schedule="cosine", validate_every=4)


def attacker(victim, secured, seed=42):
    model = clone(victim)
    starts.apply(model, starts.draw(model, secured.names, "xavier", seed))
    return model


def attack(name, victim, model, secured, samples):
    if name == "sem":
        return sem.sem(model, oracle.Oracle(victim, secured, 0), samples, "relative_mse")
    return {"ft_all": ft.ft_all, "ft_closed": ft.ft_closed}[name](model, secured, samples)


def run(plan, model, samples, folder, recipe=RECIPE):
    training.train(model, plan.trainable, plan.samples, plan.loss, lambda _: {}, recipe, 42, 0, folder)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", ["ft_all", "ft_closed", "sem"])
@pytest.mark.parametrize("declaration", ["layers 0", "layers 1-2"])
def test_the_secret_never_reaches_the_attackers_model(name, declaration, llama, samples, tmp_path):
    """The attacker's copy is made from a victim whose secret tensors are NaN: the replica is the same."""
    secured, robbed = secured_set(llama, declaration), clone(llama)
    with torch.no_grad():
        for parameter_name, parameter in robbed.named_parameters():
            if parameter_name in secured.names:
                parameter.fill_(math.nan)
    replicas = []
    for number, source in enumerate((llama, robbed)):
        model = attacker(source, secured)
        replicas.append(run(attack(name, llama, model, secured, samples), model, samples, tmp_path / str(number)))
    assert all(torch.equal(tensor, replicas[1][key]) for key, tensor in replicas[0].items())
    assert all(tensor.isfinite().all() for tensor in replicas[0].values())


def test_what_each_attack_trains(llama, samples):
    secured = secured_set(llama, "layers 0")
    assert attack("ft_all", llama, llama, secured, samples).trainable == {name for name, _ in llama.named_parameters()}
    for name in ("ft_closed", "sem"):
        assert attack(name, llama, clone(llama), secured, samples).trainable == set(secured.names)


@pytest.mark.parametrize("declaration", ["fully_secured", "layers 0,2", "layers 2-3 + head"])
def test_states_that_are_not_visible_are_refused(llama, samples, declaration):
    batch = training.Collator(0)(samples)
    hidden = oracle.Oracle(llama, secured_set(llama, declaration), 0)
    with pytest.raises(StudyError, match="not visible"):
        hidden.boundary(batch["input_ids"], batch["attention_mask"])


def test_queries_are_counted(llama, samples):
    asked = oracle.Oracle(llama, secured_set(llama, "layers 0"), 0)
    batch = training.Collator(0)(samples)
    asked.boundary(batch["input_ids"], batch["attention_mask"])
    asked.answers([[1, 2, 3], [4, 5]], new_tokens=4, batch=2)
    assert (asked.sequences, asked.tokens) == (len(samples) + 2, sum(len(s["input_ids"]) for s in samples) + 5)


def test_greedy_answers_are_those_of_plain_generation_and_noise_changes_them(llama):
    prompts = [[5, 6, 7, 8], [9, 10]]
    clean = oracle.Oracle(llama, secured_set(llama, "layers 0"), 0).answers(prompts, new_tokens=6, batch=2)
    for prompt, answer in zip(prompts, clean, strict=True):
        ids = torch.tensor([prompt])
        for token in answer:
            with torch.no_grad():
                assert llama(input_ids=ids).logits[0, -1].argmax().item() == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    noise = oracle.LaplaceNoise(prompts, 0.5)
    scores = noise(None, torch.zeros(2, 20_000)).abs()
    assert scores.mean().item() == pytest.approx(0.5, rel=0.05)  # the mean of |Laplace(0, b)| is b
    again = oracle.LaplaceNoise(prompts[::-1], 0.5)(None, torch.zeros(2, 20_000)).abs()
    assert torch.equal(again[0], scores[1])  # fixed by the prompt, not by its place in the batch


def test_unlabelled_samples_are_refused(samples):
    answers = {sample["id"]: [7, 0] for sample in samples}
    done = oracle.relabelled(samples, answers, 8)
    assert all(sample["input_ids"][sample["answer_start"] :] == [7, 0][: 8 - sample["answer_start"]] for sample in done)
    with pytest.raises(StudyError, match="no victim answer for s0"):
        oracle.relabelled(samples, {}, 8)


def language(count, length=16, vocabulary=30):
    """A synthetic language: each token follows from the two before it, so both layers have something to learn."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(1, vocabulary, (count, length), generator=generator)
    for position in range(2, length):
        rows[:, position] = 1 + (3 * rows[:, position - 1] + 5 * rows[:, position - 2]) % (vocabulary - 1)
    return [
        {"id": str(i), "source": "alpaca", "input_ids": row.tolist(), "answer_start": 2} for i, row in enumerate(rows)
    ]


def test_sem_recovers_a_layer_of_a_trained_victim_and_a_zero_rate_attack_does_not(tmp_path):
    """A random tiny model cannot show that an attack works: this victim has learnt its language first."""
    texts = language(768)
    victim = build("llama")
    everything = {name for name, _ in victim.named_parameters()}
    school = RECIPE.model_copy(update={"steps": 500, "batch": 64, "validate_every": 500})
    training.train(
        victim, everything, texts[:704], training.answer_loss, lambda _: {}, school, 1, 0, tmp_path / "victim"
    )
    victim.eval()
    secured, held_out = secured_set(victim, "layers 0"), training.Collator(0)(texts[704:])

    def agreement(model):
        with torch.no_grad():
            answers = [m(input_ids=held_out["input_ids"]).logits[held_out["keep"]].argmax(-1) for m in (model, victim)]
        return (answers[0] == answers[1]).float().mean().item()

    def recipe(rate):
        return school.model_copy(update={"learning_rate": rate, "steps": 1000})

    reached = {}
    for rate in (0.0, 1e-2):
        model = attacker(victim, secured)
        plan = attack("sem", victim, model, secured, texts[:704])
        run(plan, model, texts, tmp_path / str(rate), recipe(rate))
        reached[rate] = agreement(model.eval())
    with torch.no_grad():
        loss = training.answer_loss(victim, held_out)
    assert loss < 1.5, "the victim has not learnt its language"
    assert reached[0.0] < 0.15 and reached[1e-2] > 0.45
