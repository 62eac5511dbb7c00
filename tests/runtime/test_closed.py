"""A label loss taken back through the door is the whole model's own; what it gains is counted by questions."""

import pytest
import torch

from solid_utils.deployment import starts
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.models import open_part
from solid_utils.runtime import closed
from solid_utils.runtime.manifest import Policy
from tests.conftest import build, byte_llama
from tests.runtime.split_model import divided
from tests.runtime.test_attacks import texts
from tests.runtime.worlds import client


@pytest.mark.parametrize(("architecture", "declaration"), [("llama", "layers 1-2"), ("gpt2", "layers 0-1")])
def test_the_gradient_of_a_label_loss_is_the_whole_models_own(tmp_path, architecture, declaration):
    """Against plain autograd through the plain model, from its own loss and no code of ours."""
    divided(tmp_path, architecture, declaration, Policy(gradients=True))
    victim = build(architecture)
    seen = view(victim, secured_set(victim, declaration))
    samples = texts(6)
    with client(tmp_path / "halves") as model:
        told = closed.ask(model, seen, samples, 3, slopes=True)
        counted = model.secure.counts()
    tokens = [one.batch["attention_mask"].sum().item() for one in told]
    padded = [one.batch["attention_mask"].numel() for one in told]
    assert counted == {"tokens": sum(tokens), "sequences": 6, "gradients": sum(padded)}
    entered = []
    layer = victim.get_decoder().layers[1] if architecture == "llama" else victim.transformer.h[0]
    layer.register_forward_pre_hook(lambda _, given: entered.append(given[0]) or given[0].retain_grad())
    for one in told:
        mask = one.batch["attention_mask"]
        labels = one.batch["input_ids"].masked_fill(~one.batch["keep"].roll(1, dims=1), -100)
        victim(input_ids=one.batch["input_ids"], attention_mask=mask, labels=labels).loss.backward()
        theirs = entered[-1].grad
        assert theirs.abs().max() > 1e-3
        assert torch.allclose(one.slope, theirs * mask[..., None], rtol=1e-3, atol=1e-6)


def test_a_replica_that_is_told_gradients_has_them():
    """And one that is told answers alone has not; both train on the same texts."""
    victim = build("llama").requires_grad_(False)
    victim.set_attn_implementation("eager")
    secured = secured_set(victim, "layers 1")
    seen, apart = view(victim, secured), {}
    told = closed.ask(victim, seen, texts(16), 8, slopes=True)
    for slopes in (False, True):
        given = told if slopes else closed.ask(victim, seen, texts(16), 8, slopes=False)
        replica = open_part(victim, secured.names)
        starts.apply(replica, starts.draw(replica, secured.names, "skip", 42))
        closed.train(replica, secured, seen, given, 20, 1e-2)
        mine = [closed.slope(replica, DecoderLayers(replica), seen, one.batch, keep=False)[1] for one in told]
        pairs = zip(mine, told, strict=True)
        apart[slopes] = sum(closed.distance(own, one.slope).item() for own, one in pairs)
    assert apart[True] < 0.9 * apart[False]


def test_what_is_gained_is_counted_by_questions(tokenizer):
    victim = byte_llama(5)
    samples = [
        {"id": str(number), "input_ids": [1 + (7 * number + 3 * place) % 200 for place in range(20)], "answer_start": 8}
        for number in range(12)
    ]
    secured = secured_set(victim, "layers 0")
    rows = closed.gained(victim, secured, tokenizer, samples[:8], samples[8:], [4, 8], 2, 1e-2, 4)
    asked = [(row["texts"], row["gradients"], row["questions"]) for row in rows]
    assert asked == [(4, 0, 4), (4, 4, 8), (8, 0, 8), (8, 8, 16)]
    assert len({row["before_kl"] for row in rows}) == 1
    assert len({row["kl"] for row in rows} | {rows[0]["before_kl"]}) == 5  # each is another replica
