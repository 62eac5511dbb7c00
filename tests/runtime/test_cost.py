"""What is counted from shapes is what crosses the socket, what the secure world multiplies, and what it holds."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.runtime import cost
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.manifest import Policy
from tests.conftest import VOCABULARY, build
from tests.runtime.split_model import divided
from tests.runtime.worlds import served

ASKED = cost.Asked(rows=3, tokens=10)
IDS = torch.randint(1, VOCABULARY, (3, 10), generator=torch.Generator().manual_seed(2))


class Products(TorchDispatchMode):
    """FLOPs by torch's own formulas. (FlopCounterMode follows modules, which a forward that is left early confuses.)"""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=output)
        return output


class Counting:
    """What the secure world multiplies: in its forwards, their heads, and its pulls with their backward passes."""

    def __init__(self, inside, monkeypatch):
        self.flops, self.busy = 0, False
        for name in ("run", "pull", "head"):
            monkeypatch.setattr(inside, name, self.counted(getattr(inside, name)))

    def counted(self, work):
        def run(*given):
            if self.busy:  # the forward of a pull
                return work(*given)
            self.busy = True
            with Products() as products:
                answer = work(*given)
            self.busy = False
            self.flops += products.flops
            return answer

        return run


@pytest.mark.parametrize(
    ("declaration", "gradients"),
    [("layers 0", False), ("layers 1-2", True), ("bottom 1 + embeddings", False), ("top 1 + rest after layers", False)],
)
def test_counted_is_measured(tmp_path, monkeypatch, declaration, gradients):
    divided(tmp_path, "llama", declaration, Policy(gradients=gradients))
    plain = build("llama")
    rows = {row["work"]: row for row in cost.costs(plain, secured_set(plain, declaration), ASKED, gradients)}
    with served(tmp_path / "halves") as (place, server, _):
        model = SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        inside = server.world.inside
        model.set_attn_implementation("eager")
        inside.model.set_attn_implementation("eager")  # torch's counter does not know every fused attention on a CPU
        world = Counting(inside, monkeypatch)
        held = {id(one): one.nbytes for name, one in inside.model.named_parameters() if name in secret(plain, model)}
        assert {row["secret_bytes"] for row in rows.values()} == {sum(held.values())}
        begun = model(input_ids=IDS[:1], use_cache=True).past_key_values

        def decode():
            more = {"attention_mask": torch.ones(1, 11).long(), "position_ids": torch.tensor([[10]])}
            model(input_ids=IDS[:1, :1], past_key_values=begun, **more)

        def prefill():
            with torch.no_grad():
                model(input_ids=IDS, use_cache=False)

        def tune():
            loss = model.train()(input_ids=IDS, labels=IDS, use_cache=False).loss
            if gradients:
                loss.backward()

        for work, run, tokens in (("decode", decode, 1), ("prefill", prefill, 30), ("fine-tuning", tune, 30)):
            world.flops, before = 0, list(model.secure.crossed)
            run()
            crossed = [now - then for now, then in zip(model.secure.crossed, before, strict=True)]
            assert [rows[work]["sent"] * tokens, rows[work]["received"] * tokens] == pytest.approx(crossed), work
            assert rows[work]["flops_inside"] * tokens == pytest.approx(world.flops), work
        model.secure.close()


def test_keys_and_values_are_counted():
    """A token's, of as many layers as are secured."""
    llama = build("llama")
    cache = llama(input_ids=IDS[:1], use_cache=True).past_key_values
    own = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers[1:3])
    assert cost.costs(llama, secured_set(llama, "layers 1-2"), ASKED)[0]["cache_bytes"] == own / 10


def secret(plain, model) -> set[str]:
    """Names of what the client lacks."""
    return set(dict(plain.named_parameters())) - set(dict(model.named_parameters()))


def test_a_lone_matrix_has_no_cost_table(llama):
    with pytest.raises(StudyError, match="a door of its own"):
        cost.costs(llama, secured_set(llama, "layer 1 q"), ASKED)
