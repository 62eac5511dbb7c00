"""A thief asks as a customer does: what he asks is what the map is fitted on, and each kind is counted by itself."""

from solid_utils.core import schema
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.runtime import adaptive, disguised, monitor
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, SAMPLES


def test_a_row_for_each_kind_of_texts(tokenizer, tmp_path):
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    asked = {"near": SAMPLES[:24], "far": [one | {"input_ids": [7] * 12} for one in SAMPLES[:20]]}
    near, far = disguised.measured(victim, secured, tokenizer, asked, HELD_OUT)
    assert (near["drawn_from"], near["queries"], far["queries"], far["tokens"]) == ("near", 24, 20, 240)
    assert near["kl"] < far["kl"], "texts of one token teach little"
    identity = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32"} | facts(secured)
    schema.write([identity | row for row in (near, far)], schema.DISGUISED, tmp_path / "disguised.csv")


def test_who_hides_asks_few_tokens_of_his_own(tokenizer, monkeypatch):
    asked = []
    monkeypatch.setattr(
        disguised.sampling, "texts", lambda kind, _, length, count: asked.append((kind, length, count)) or []
    )
    assert list(disguised.kinds(tokenizer, 30)) == [monitor.NATURAL, *monitor.DOMAINS, monitor.BEGUN]
    long = [(kind, adaptive.LENGTH, 30) for kind in ("attack", "math_train", "reasoning_train", "code_train")]
    assert asked == [*long, ("attack", monitor.OWN, 30)] and monitor.OWN < adaptive.LENGTH
