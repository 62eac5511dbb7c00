"""A plan is counted from shapes alone, and the run then does what it says."""

import pytest
import torch
from transformers import LlamaConfig

from solid_utils.core import machine
from solid_utils.core.errors import StudyError
from solid_utils.deployment import cost
from solid_utils.deployment.secured import secured_set
from solid_utils.difficulty import sweep
from solid_utils.difficulty.difficulty import Difficulty
from solid_utils.difficulty.weights import Skeleton, Streamed
from solid_utils.model import accelerator, answers
from solid_utils.model.structure import is_tied, parameters_after_layers
from solid_utils.recommend.plan import LLAMA2_70B, PROGRAM, Planner, Rates, amount, duration, wave
from tests.conftest import CONFIGS, SMALL

SETS = ["all", "none", "bottom 1", "bottom 3", "layers 2", "layer 1 q,up", "top 1 + head", "embeddings"]
SEEDS = [20, 42]
CPU = torch.device("cpu")


def test_a_skeleton_is_the_model_without_its_values(model):
    skeleton = Skeleton(model.config, torch.float32)
    assert {name: p.shape for name, p in skeleton.parameters.items()} == {
        n: p.shape for n, p in model.named_parameters()
    }
    assert is_tied(skeleton.model) == is_tied(model)
    chosen = skeleton.secured("bottom 2")
    with skeleton.layers.idle():
        assert parameters_after_layers(skeleton.model) == parameters_after_layers(model)
        ours = cost.cost(skeleton.model, chosen)
    assert ours == cost.cost(model, secured_set(model, "bottom 2"))
    assert all(p.untyped_storage().nbytes() <= 4 for p in skeleton.parameters.values())


@pytest.fixture
def counted(llama, samples, tmp_path, monkeypatch):
    """A streamed run of SETS in several passes, with what it did: (plan, layer calls, bytes read, numbers drawn)."""
    monkeypatch.setattr(answers, "TOKENS", 16)
    planner = Planner(Skeleton(llama.config, torch.float32), samples, "xavier", PROGRAM + 90_000, streamed=True)
    planned = planner.plan(SETS, SEEDS)
    llama.save_pretrained(tmp_path)
    source = Streamed(tmp_path, torch.float32, CPU)
    done = {"calls": 0, "read": 0, "drawn": 0, "sweeps": 0}

    def noted(what, function, measure):
        def wrapper(*args, **kwargs):
            result = function(*args, **kwargs)
            done[what] += measure(result)
            return result

        return wrapper

    monkeypatch.setattr(source, "read", noted("read", source.read, lambda tensor: tensor.nbytes))
    drawn = noted("drawn", sweep.starts.draw, lambda tensors: sum(t.numel() for t in tensors.values()))
    monkeypatch.setattr(sweep.starts, "draw", drawn)
    for layer in source.skeleton:  # copies of them keep the hook
        layer.self_attn.register_forward_hook(lambda *_: done.__setitem__("calls", done["calls"] + 1))
    score = Difficulty(source, samples, "xavier", 0, memory=planned.room)
    run = score.sweep.run
    monkeypatch.setattr(score.sweep, "run", lambda *args: done.__setitem__("sweeps", done["sweeps"] + 1) or run(*args))
    score.losses(SETS, SEEDS)
    return planned, done


def test_the_run_does_what_the_plan_says(counted):
    planned, done = counted
    assert planned.passes == done["sweeps"] > 1
    assert planned.calls == done["calls"]
    assert planned.bytes_read == done["read"]
    assert planned.drawn == done["drawn"]
    assert planned.plain_passes == 16 and planned.models == 15  # "none" has no seed


def test_work_of_one_pass_by_hand(samples):
    """A linear chain: two prefixes and all of one seed, three layers."""
    config = LlamaConfig(**SMALL | {"num_hidden_layers": 3}, intermediate_size=32)
    planner = Planner(Skeleton(config, torch.bfloat16), samples, "xavier", 10e9, streamed=True)
    planned = planner.plan(["all", "bottom 1", "bottom 2"], [20])
    layer = 4 * 16 * 16 + 3 * 16 * 32
    tokens, answers = 12 * 5, sum(len(sample["input_ids"]) - sample["answer_start"] for sample in samples)
    # depth 1: the ceiling's state and the prefixes'; depth 2 and 3: three
    assert planned.flops == 2 * (layer * (2 + 3 + 3) * tokens + 3 * 97 * 16 * answers)
    whole = layer + 2 * 16
    assert planned.bytes_read == 2 * 2 * whole  # layers 1 and 2; nobody has the victim's layer 0
    assert planned.pass_bytes == 2 * 3 * whole
    assert planned.drawn == 3 * whole + 2 * (2 * 97 * 16 + 16)  # embeddings, head and norm: entering and leaving
    # three states leave layers 1 and 2; one (depth 1) still branches
    assert planned.states == tokens * 16 * 2 * 4 and planned.passes == 1


def test_memory_too_small_gets_one_line(llama, samples):
    planner = Planner(Skeleton(llama.config, torch.float32), samples, "xavier", PROGRAM, streamed=True)
    with pytest.raises(StudyError, match=r"memory: 500 MB allowed, 3 models at once need 50\d MB .* allow more"):
        planner.plan(["all", "bottom 1", "bottom 2"], [20])
    planner = Planner(Skeleton(llama.config, torch.float32), samples, "xavier", PROGRAM, streamed=True)
    planner.memory, planner.guarded = 2e9, 10**6
    with pytest.raises(StudyError, match=r"comparing the engine with plain Transformers before the search needs .*B; "):
        planner.plan(["all", "bottom 1"], [20])


def test_prefixes_at_once_are_those_that_fit_one_pass(llama, samples, monkeypatch):
    monkeypatch.setattr(answers, "TOKENS", 12)
    skeleton = Skeleton(llama.config, torch.float32)

    def at_once(memory, streamed=True):
        return Planner(skeleton, samples, "xavier", memory, streamed).at_once(SEEDS)

    assert at_once(10e9) == 4 and at_once(10e9, streamed=False) == 1
    some = Planner(skeleton, samples, "xavier", 10e9, True).plan(wave(1, 2, ["all"]), SEEDS)
    assert at_once(some.peak) == 2 and at_once(some.peak - 1) == 1
    assert at_once(PROGRAM + 60_000) == 1  # not even one fits one pass


def test_a_70b_model_is_planned_by_its_configuration():
    samples = [{"input_ids": [0] * 256, "answer_start": 128}] * 48
    rates = Rates(multiply=1e14, draw=2e8, read=3e9)
    planner = Planner(Skeleton(LLAMA2_70B, torch.bfloat16), samples, "xavier", 24e9, True, rates)
    planned = planner.plan(wave(1, planner.at_once([20]), ["all"]), [20])
    assert planned.passes == 1 and planned.peak < 24e9
    assert planned.pass_bytes == pytest.approx(137e9, rel=0.01)
    assert 0 < planned.guard_read < 0.1 * planned.pass_bytes and planned.guard < 16e9
    text = str(planned)
    assert text.startswith("plan: 5 models over 48 samples (12,288 padded tokens)") and len(text.splitlines()) == 6
    assert (
        "one for every set and seed would be 5 (685 GB)" in text and "at 100 TFLOP/s, 200 M numbers/s, 3 GB/s" in text
    )


def test_another_width_behind_the_embeddings_counts(samples):
    """OPT-350M's embeddings are narrower than its hidden states."""
    planner = Planner(Skeleton(CONFIGS["opt"], torch.float32), samples, "xavier", 10e9, streamed=False)
    assert planner.plan(["bottom 1"], [20]).states == 12 * 5 * 16 * 4 * 1


def test_rates_of_this_machine(tmp_path):
    (tmp_path / "file").write_bytes(bytes(2**20))
    assert accelerator.matmul_rate(torch.float32, CPU, width=64) > 0 and accelerator.draw_rate(1000) > 0
    assert machine.read_rate(tmp_path / "file") > 0


def test_amounts_are_readable():
    assert amount(0) + amount(999) + amount(1234567) + amount(2.5e12) + amount(999.9e9) == "0 999 1.23 M2.5 T1000 G"
    assert [duration(seconds) for seconds in (1.26, 90, 7200)] == ["1.3 s", "1.5 min", "2.0 h"]
