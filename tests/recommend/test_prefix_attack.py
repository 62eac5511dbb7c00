"""Maps of several prefixes from one sweep are those of linear_map.fit, scored as plain Transformers scores them."""

import pytest
import torch

from solid_utils.attacks import linear_map
from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.difficulty.weights import InMemory, Streamed
from solid_utils.model.answers import Batch
from solid_utils.model.models import clone, open_part
from solid_utils.recommend import prefix_attack
from solid_utils.recommend.prefix_attack import PrefixAttack, TextScores
from tests.attacks.test_linear_map import texts
from tests.cases import architectures

CPU, SEED, PREVIOUS, ASKED = torch.device("cpu"), 42, 2, texts(27)


def batches(samples: list[dict], size: int) -> list[Batch]:
    indices = list(range(len(samples)))
    return [Batch(samples, indices[first : first + size], 0, CPU) for first in range(0, len(samples), size)]


def attack(source, samples, prefixes=(1, 3), together=True):
    held = batches(samples, 2)
    groups = [held] if together else [[one] for one in held]
    made = PrefixAttack(source, "xavier", SEED, PREVIOUS)
    return made.run(list(prefixes), batches(ASKED, 8), groups, len(samples), progress="")


def plain(model, twin, samples) -> TextScores:
    """Plain Transformers, each text alone, logits at every position."""
    scores = TextScores([], [], [])
    for sample in samples:
        ids, answer = torch.tensor([sample["input_ids"]]), slice(sample["answer_start"] - 1, -1)
        with torch.no_grad():
            theirs, own = (
                one(input_ids=ids, use_cache=False).logits[0, answer].log_softmax(1) for one in (model, twin)
            )
        scores.tokens.append(len(own))
        scores.agreeing.append(int((own.argmax(1) == theirs.argmax(1)).sum()))
        scores.kl.append(torch.nn.functional.kl_div(own, theirs, reduction="sum", log_target=True).item())
    return scores


def same(ours: TextScores, theirs: TextScores) -> bool:
    return (ours.tokens, ours.agreeing) == (theirs.tokens, theirs.agreeing) and ours.kl == pytest.approx(
        theirs.kl, rel=1e-3, abs=1e-5
    )


def test_it_equals_linear_map_fit_and_plain_forwards_and_streams(model, samples, tmp_path):
    found = attack(InMemory(model), samples)
    model.save_pretrained(tmp_path)
    assert attack(Streamed(tmp_path, torch.float32, CPU), samples, together=False) == found
    secured, twin = secured_set(model, "bottom 3"), clone(model)
    starts.apply(twin, starts.draw(twin, secured.names, "xavier", SEED))
    assert same(found.start[3], plain(model, twin, samples))
    oracle, attacker = Oracle(model, secured, 0), open_part(model, secured.names)
    fitted = linear_map.fit(attacker, oracle, ASKED, PREVIOUS, scaled=True, first_apart=True)
    linear_map.install(attacker, oracle.view, fitted)
    assert same(found.attack[3], plain(model, attacker, samples))
    assert found.start[3].kl != found.attack[3].kl != found.attack[1].kl


def test_the_victims_own_tokens_are_kept_for_the_floor(llama, samples):
    found = attack(InMemory(llama), samples)
    for sample, tokens in zip(samples, found.likeliest, strict=True):
        with torch.no_grad():
            logits = llama(torch.tensor([sample["input_ids"]]), use_cache=False).logits[0]
        assert tokens == logits[sample["answer_start"] - 1 : -1].argmax(1).tolist()


def test_a_text_model_beside_a_vision_tower(samples):
    """Scaled embeddings, sliding windows, another tower of the same depth."""
    model = architectures.two_towers()
    found = attack(InMemory(model), samples, prefixes=[2])
    secured = secured_set(model, "bottom 2")
    oracle, attacker = Oracle(model, secured, 0), open_part(model, secured.names)
    fitted = linear_map.fit(attacker, oracle, ASKED, PREVIOUS, scaled=True, first_apart=True)
    linear_map.install(attacker, oracle.view, fitted)
    assert same(found.attack[2], plain(model, attacker, samples))


def test_layers_that_hand_keys_and_values_on_have_no_map(samples):
    """The keys that layers further up read would be gone with the secured layers: what lies below them has a map."""
    model = architectures.build("gemma4_text", architectures.RIGHT["gemma4_text"])
    found = attack(InMemory(model), samples, prefixes=[1, 4])
    assert set(found.start) == {1, 4} and 4 not in found.attack
    assert found.chosen.keys() == found.attack.keys()


def test_each_layer_runs_once_for_each_state_and_is_read_once(llama, samples, tmp_path, monkeypatch):
    llama.save_pretrained(tmp_path)
    source, read, calls = Streamed(tmp_path, torch.float32, CPU), [], []
    layer = Streamed.layer
    monkeypatch.setattr(Streamed, "layer", lambda one, index: read.append(index) or layer(one, index))
    for one in source.skeleton:
        one.self_attn.register_forward_hook(lambda *_: calls.append(1))
    made = PrefixAttack(source, "xavier", SEED, PREVIOUS)
    asked, held = batches(ASKED, 9), [Batch(samples, list(range(5)), 0, CPU)]
    made.run([1, 2], asked, [held], 5, progress="")
    assert read == [0, 1, 2, 3]
    # Victim and a random state everywhere, where the second prefix leaves it two; a map's from its prefix on.
    assert len(calls) == 2 * len(asked) + (2 + (1 + 1 + 1 + 1) + 5 + 5)


def test_broken_weights_are_one_line(llama, samples):
    with torch.no_grad():
        llama.lm_head.weight.fill_(torch.nan)
    with pytest.raises(StudyError, match="attack: logits on a held-out text are not finite") as error:
        attack(InMemory(llama), samples)
    assert "\n" not in str(error.value)


def test_logits_are_held_for_a_few_positions_at_a_time(monkeypatch):
    keep = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0]]).bool()
    monkeypatch.setattr(prefix_attack, "LOGIT_ROWS", 2)
    found = prefix_attack.pieces(keep)
    assert [int(one.sum()) for one in found] == [2, 2, 1] and torch.equal(torch.stack(found).any(0), keep)
