"""KL of the model with the map in place is plain Transformers' with a layer that says so."""

import pytest
import torch

from solid_utils.difficulty import residual
from solid_utils.difficulty.map_kl import map_kl
from solid_utils.model.models import clone
from tests.difficulty.conftest import FIRST, LAST, both_sides


@pytest.mark.parametrize("architecture", ["llama-tied", "gpt2", "gemma3"])
def test_it_is_the_plain_loop(architecture):
    layers, seen, final = both_sides(architecture)
    guess = residual.guessed(seen, residual.fit(seen, 1))
    model = clone(layers.model)
    kls = []
    for number, text in enumerate(seen.held_out.nonzero()[:, 0].tolist()):
        length = int(seen.mask[text].sum())
        ids = seen.ids[text : text + 1, :length]
        with torch.no_grad():
            theirs = model(ids, use_cache=False).logits[0].double().log_softmax(1)
            state = guess[number : number + 1, :length]

            def put(_module, _inputs, output, state=state):
                return (state, *output[1:]) if isinstance(output, tuple) else state

            hook = model.get_decoder().get_submodule(layers.path.rpartition(".")[2])[LAST].register_forward_hook(put)
            ours = model(ids, use_cache=False).logits[0].double().log_softmax(1)
            hook.remove()
        kls.append((theirs.exp() * (theirs - ours)).sum(1))
    assert FIRST < LAST
    assert map_kl(layers, seen, guess, LAST, final) == pytest.approx(torch.cat(kls).mean().item(), rel=1e-3)


def test_the_victims_own_states_have_none(middle):
    layers, seen, final = middle
    assert map_kl(layers, seen, seen.leaving[seen.held_out], LAST, final) == pytest.approx(0, abs=1e-6)
