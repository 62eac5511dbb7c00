"""The guard lets right engines through and refuses the others, in one line, over many architectures."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from solid_utils.core.errors import StudyError
from solid_utils.difficulty import difficulty, guard, sweep
from solid_utils.difficulty.weights import InMemory, Streamed
from solid_utils.model.layers import DecoderLayers
from tests.cases import architectures
from tests.difficulty.test_difficulty import plain_losses

CPU, SETS = torch.device("cpu"), ["all", "bottom 2", "layers 1"]


def right(source, model, samples):
    """The guard passes, and DD equals the plain loop; seeds beside each other, as state may leak between them."""
    guard.check(source, samples, 0)
    losses = difficulty.Difficulty(source, samples[:2], "xavier", 0).losses(SETS, [20, 42])
    for name in SETS:
        for seed in (20, 42):
            plain = plain_losses(model, samples[:2], name, "xavier", seed)
            np.testing.assert_allclose(losses[name][seed], plain, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", architectures.RIGHT)
def test_of_these_architectures_dd_is_right(case, samples):
    model = architectures.build(case, architectures.RIGHT[case])
    right(InMemory(model), model, samples)


@pytest.mark.parametrize("case", architectures.REFUSED)
def test_of_these_a_line_says_why_not(case, samples):
    options, line = architectures.REFUSED[case]
    with pytest.raises(StudyError, match=line) as error:
        guard.check(InMemory(architectures.build(case, options)), samples, 0)
    assert "\n" not in str(error.value)


def test_of_two_towers_it_is_the_one_a_text_goes_through(samples):
    model = architectures.two_towers()
    assert DecoderLayers(model).path == "model.language_model.layers"
    right(InMemory(model), model, samples)


def refused(source, samples, line):
    with pytest.raises(StudyError, match=line):
        guard.check(source, samples, 0)


def test_an_engine_that_mixes_up_what_layers_hand_on_is_refused(samples, monkeypatch):
    """As it was: all candidates wrote keys and values in one notebook, so the last one was right."""
    model = architectures.build("gemma4_text", architectures.RIGHT["gemma4_text"])
    monkeypatch.setattr(sweep, "written", lambda notes, call: (notes, call))
    refused(InMemory(model), samples, r"^guard: Gemma4ForCausalLM .*: layer by layer its logits are off by .* nothing")


def test_an_engine_that_is_off_by_a_thousandth_is_refused(llama, samples, monkeypatch):
    hidden = sweep.hidden
    monkeypatch.setattr(sweep, "hidden", lambda output: hidden(output) + 0.01)
    refused(InMemory(llama), samples, "guard: LlamaForCausalLM as it is: layer by layer its logits are off by")


def test_an_engine_that_forgets_the_random_layers_or_embeddings_is_refused(llama, samples, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(InMemory, "variant", lambda self, index, _: self.layer(index))
        refused(InMemory(llama), samples, "with layers 0 random")
    with monkeypatch.context() as patch:
        patch.setattr(InMemory, "frame", lambda self, _: self.model)
        refused(InMemory(llama), samples, "with embeddings random")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stream_that_reads_other_tensors_than_transformers_is_refused(llama, samples, tmp_path, monkeypatch, dtype):
    llama.to(dtype).save_pretrained(tmp_path)
    source = Streamed(tmp_path, dtype, CPU)
    guard.check(source, samples, 0)
    read = Streamed.read
    monkeypatch.setattr(Streamed, "read", lambda self, name: read(self, name) * (1.05 if "3.mlp" in name else 1))
    refused(source, samples, "the checkpoint or this architecture is not supported")


def test_a_model_in_bfloat16_is_compared_in_float32(llama, samples, monkeypatch):
    half = copy.deepcopy(llama).to(torch.bfloat16)
    guard.check(half, samples, 0)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    monkeypatch.setattr(guard, "Exact", lambda source, _: source)  # rounding alone is more than the guard allows
    refused(InMemory(half), samples, "off by")


def test_a_stream_is_read_once_more_at_most(llama, samples, tmp_path, monkeypatch):
    llama.save_pretrained(tmp_path)
    source, read, names = Streamed(tmp_path, torch.float32, CPU), Streamed.read, []
    monkeypatch.setattr(Streamed, "read", lambda self, name: names.append(name) or read(self, name))
    guard.check(source, samples, 0)
    layers = guard.worked(source.layers, streamed=True)
    assert layers == [0, 3] and 2 * len(layers) <= len(source.layers)  # the other half is Transformers' own reading
    assert {name.split(".")[2] for name in names} == {"0", "3"} and len(names) == len(set(names))


def test_logits_are_compared_on_the_cpu_wherever_the_model_is(llama, samples, monkeypatch):
    """The engine hands arrays over; on a GPU the plain forward's logits once stayed there, and every search stopped."""

    class Elsewhere:
        def __init__(self, logits):
            self.logits = logits

        def cpu(self):
            return self.logits

    model_guard = SimpleNamespace(**vars(guard.guard))
    model_guard.plain = lambda model, row: Elsewhere(guard_plain(model, row))
    guard_plain = guard.guard.plain
    monkeypatch.setattr(guard, "guard", model_guard)
    guard.check(llama, samples, 0)


def test_logits_that_are_not_finite_are_said_so(llama, samples):
    with torch.no_grad():
        llama.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    refused(InMemory(llama), samples, "LlamaForCausalLM: its logits are not finite")


EXPERTS = ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3", "gpt_oss", "granitemoe", "phimoe", "olmoe")


@pytest.mark.parametrize("case", [*EXPERTS, "gemma4_text", "gptj"])
def test_experts_and_buffers_stream_bit_for_bit(case, tmp_path):
    """Files hold experts one by one and scales beside them; memory stacks experts and calls scales buffers.

    In bfloat16 some routers stay in float32, and GPT-J's sinusoids are computed in it.
    """
    model = architectures.build(case, architectures.RIGHT[case])
    with torch.no_grad():
        for buffer in (buffer for name, buffer in model.named_buffers() if name in model.state_dict()):
            buffer.add_(torch.rand_like(buffer))
    model.save_pretrained(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        whole = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype).eval()
        source = Streamed(tmp_path, dtype, CPU)
        for index, layer in enumerate(DecoderLayers(whole).layers):
            equal(source.layer(index), layer, lambda _: True)
        equal(source.model, whole, lambda name, inside=f"{source.path}.": not name.startswith(inside))


def equal(ours, theirs, asked):
    """The same parameters and buffers, values and dtypes, where `asked`."""
    for kind in ("named_parameters", "named_buffers"):
        mine = {name: tensor for name, tensor in getattr(ours, kind)() if asked(name)}
        named = {name: tensor for name, tensor in getattr(theirs, kind)() if asked(name)}
        assert mine.keys() == named.keys()
        assert [name for name in named if mine[name].dtype != named[name].dtype] == []
        assert [name for name in named if not torch.equal(mine[name], named[name])] == []


def test_a_stream_of_experts_gives_the_numbers_of_the_model_in_memory(samples, tmp_path):
    model = architectures.build("qwen3_moe", {})
    model.save_pretrained(tmp_path)
    right(Streamed(tmp_path, torch.float32, CPU), model, samples)
