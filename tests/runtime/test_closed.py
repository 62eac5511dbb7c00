"""A label loss taken back through the door is the whole model's own; what it gains is counted by questions."""

import pytest
import torch

from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
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


def test_a_replica_that_is_told_gradients_has_them_sooner_and_questions_are_counted(tokenizer):
    victim = byte_llama(5)
    samples = [
        {"id": str(number), "input_ids": [1 + (7 * number + 3 * place) % 200 for place in range(20)], "answer_start": 8}
        for number in range(20)
    ]
    rows = closed.gained(
        victim, secured_set(victim, "layers 0"), tokenizer, samples[:12], samples[12:], [6, 12], 30, 1e-2, 6
    )
    asked = [(row["texts"], row["gradients"], row["questions"]) for row in rows]
    assert asked == [(6, 0, 6), (6, 6, 12), (12, 0, 12), (12, 12, 24)]
    assert len({row["before_kl"] for row in rows}) == 1
    print(rows)
    assert rows[1]["kl"] < rows[0]["kl"] and rows[3]["kl"] < rows[2]["kl"] < rows[2]["before_kl"]
