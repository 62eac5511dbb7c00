"""Attacks see the oracle and the open weights, nothing else; SEM recovers a layer of a trained model."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from solid_utils.attacks import part, recorded
from solid_utils.attacks.declared import KINDS
from solid_utils.core.errors import StudyError
from solid_utils.deployment import oracle, starts, view
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.model.forward import answer_logits
from solid_utils.model.models import clone, open_part
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training
from tests.conftest import build

RECIPE = Recipe(batch=2, steps=4, learning_rate=1e-2, weight_decay=0.0, schedule="cosine", validate_every=4)

SEM_RECIPE = RECIPE.model_copy(update={"length": 8, "loss": "relative_mse"})


def noisy_top(model) -> SecuredSet:
    """All but the first two layers, with noise, as sap_dp keeps its first six open."""
    return replace(secured_set(model, "layers 2-3 + rest after layers"), declaration="sap_dp")


def declared(model, declaration: str) -> SecuredSet:
    return noisy_top(model) if declaration == "sap_dp" else secured_set(model, declaration)


def attacker(victim, secured, seed=42):
    model = open_part(victim, secured.names)
    starts.apply(model, starts.draw(model, secured.names, "xavier", seed))
    return model


def recording(victim, secured, samples, folder, repeats=1, noise="fixed"):
    asked = oracle.Oracle(victim, secured, 0, noise)
    return recorded.answered(asked, dict(enumerate(samples)), folder / "answers", repeats)


def attack(name, model, secured, samples, folder, answers=None, recipe=SEM_RECIPE):
    """The plan of an attack by name, on samples as they are."""
    seen = view.view(model, secured)

    def from_the_first_secret_layer(attacker):
        states = part.entered(attacker, seen, dict(enumerate(samples)), folder / "entered", 0)
        return part.SecuredPart(attacker, seen, states)

    run = SimpleNamespace(
        secured=secured, replaced=secured, samples=samples, recipe=recipe, part=from_the_first_secret_layer
    )
    return KINDS[name](attack=name, secured="layers 0").plan(model, run, answers)


def run(plan, model, folder, recipe=RECIPE):
    training.train(model, plan.trainable, plan.samples, plan.loss, lambda _: {}, recipe, 42, 0, folder / "trainer")
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def robbed(victim, secured):
    """Forget the secret tensors, in place: whoever reads them from now on reads not-a-number."""
    with torch.no_grad():
        for name, parameter in victim.named_parameters():
            if name in secured.names:
                parameter.fill_(math.nan)


SETS = ["layers 0", "layers 1-2", "top 1", "bottom 1 + embeddings", "layer 1 q,gate", "sap_dp", "fully_secured"]


@pytest.mark.parametrize("name", ["ft_all", "ft_closed", "sem"])
@pytest.mark.parametrize("declaration", SETS)
def test_training_cannot_reach_the_secret(name, declaration, llama, samples, tmp_path):
    """The oracle's answers are recorded, then the victim's secret tensors are gone: the replica is the same."""
    replicas, secured = [], declared(llama, declaration)
    for number in range(2):
        victim, folder = clone(llama), tmp_path / str(number)
        answers = recording(victim, secured, samples, folder) if name == "sem" else None
        if number:
            robbed(victim, secured)
        model = attacker(victim, secured)
        replicas.append(run(attack(name, model, secured, samples, folder, answers), model, folder))
    assert all(torch.equal(tensor, replicas[1][key]) for key, tensor in replicas[0].items())
    assert all(tensor.isfinite().all() for tensor in replicas[0].values())


def test_the_open_part_has_no_secret(llama):
    secured = secured_set(llama, "layers 1")
    handed_out, original = open_part(llama, secured.names), dict(llama.named_parameters())
    for name, parameter in handed_out.named_parameters():
        assert parameter.isnan().all() if name in secured.names else torch.equal(parameter, original[name])


def test_what_each_attack_trains(llama, samples, tmp_path):
    secured = secured_set(llama, "layers 0")
    assert attack("ft_all", llama, secured, samples, tmp_path).trainable == {n for n, _ in llama.named_parameters()}
    for name in ("ft_closed", "sem"):
        assert attack(name, clone(llama), secured, samples, tmp_path).trainable == set(secured.names)


@pytest.mark.parametrize(
    ("declaration", "pair", "ignored"),
    [
        ("layers 0", "token ids and boundary states", "boundary states, logits"),
        ("bottom 1 + embeddings", "token ids and boundary states", "boundary states, logits"),
        ("layers 2", "states entering layer 2 and boundary states", "boundary states, logits"),
        ("top 1", "states entering layer 3 and boundary states", "boundary states, logits"),
        ("head", "states entering the head and logits", "logits"),
        ("fully_secured", "token ids and logits", "logits"),
        ("sap_dp", "states entering layer 2 and noisy logits", "noisy logits"),
    ],
)
def test_what_is_seen_follows_from_the_set(declaration, pair, ignored, llama):
    seen = view.view(llama, declared(llama, declaration))
    assert seen.pair == pair
    noisy = "noisy " if declaration == "sap_dp" else ""
    assert seen.answers == f"{noisy}answers; attacker ignores what he sees: {ignored}"


def test_a_tied_head_is_secret_with_the_embeddings_and_open_without_them():
    tied = build("llama-tied")
    assert view.view(tied, secured_set(tied, "bottom 1 + embeddings")).pair == "token ids and boundary states"
    assert view.view(tied, noisy_top(tied)).outputs_only  # the final norm is secret


@pytest.mark.parametrize("declaration", ["fully_secured", "layers 0,2", "layers 2-3 + head"])
def test_states_that_are_not_visible_are_refused(llama, samples, declaration):
    batch = training.Collator(0)(samples)
    hidden = oracle.Oracle(llama, secured_set(llama, declaration), 0)
    with pytest.raises(StudyError, match="not visible"):
        hidden.boundary(batch["input_ids"], batch["attention_mask"])


def test_queries_are_counted(llama, samples, tmp_path):
    asked = oracle.Oracle(llama, secured_set(llama, "layers 0"), 0)
    recorded.answered(asked, dict(enumerate(samples)), tmp_path)
    asked.answers([[1, 2, 3], [4, 5]], new_tokens=4, batch=2)
    assert (asked.sequences, asked.tokens) == (len(samples) + 2, sum(len(s["input_ids"]) for s in samples) + 5)
    recorded.answered(asked, dict(enumerate(samples)), tmp_path)  # what is recorded is not asked again
    assert asked.sequences == len(samples) + 2


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


def test_asking_again_averages_fresh_noise_and_teaches_nothing_where_the_query_fixes_it(llama, samples, tmp_path):
    secured, everything = noisy_top(llama), torch.arange(len(samples))
    batch = training.Collator(0)(samples)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        clean = answer_logits(llama, batch["input_ids"], batch["attention_mask"], real)
    errors = {}
    for noise in ("fixed", "fresh"):
        for repeats in (1, 16):
            folder = tmp_path / f"{noise}{repeats}"
            mean = recording(llama, secured, samples, folder, repeats, noise).of(everything).float()
            errors[noise, repeats] = (mean - clean).std().item()
    # The standard deviation of Laplace(0, b) is b * sqrt(2); rounding to bfloat16 adds little.
    assert errors["fixed", 1] == pytest.approx(0.5 * math.sqrt(2), rel=0.1)
    assert errors["fixed", 16] == pytest.approx(errors["fixed", 1], rel=0.01)
    assert errors["fresh", 1] == errors["fixed", 1]
    assert errors["fresh", 16] == pytest.approx(errors["fixed", 1] / 4, rel=0.1)


def test_unlabelled_samples_are_refused(samples):
    answers = {sample["id"]: [7, 0] for sample in samples}
    done = oracle.relabelled(samples, answers, 8)
    assert all(sample["input_ids"][sample["answer_start"] :] == [7, 0][: 8 - sample["answer_start"]] for sample in done)
    with pytest.raises(StudyError, match="no victim answer for s0"):
        oracle.relabelled(samples, {}, 8)
