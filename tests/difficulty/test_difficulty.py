"""DD equals the plain way: put random weights in, run the model on each sample alone, take the loss."""

import numpy as np
import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts
from solid_utils.deployment.secured import secured_set
from solid_utils.difficulty import difficulty
from solid_utils.difficulty.weights import Streamed
from solid_utils.model import answers
from solid_utils.model.models import clone

SETS = ["none", "all", "bottom 1", "bottom 2", "bottom 4", "layers 0", "layers 1", "layers 3", "layers 1-2", "top 1"]
MORE = ["first 30%", "first 45%", "embeddings + bottom 1"]  # these end inside a layer, or begin before the first


def plain_losses(model, samples, declaration, start, seed):
    """One full forward of plain Transformers a sample, no sharing, no padding; mean loss over its answer tokens."""
    twin = clone(model)
    starts.apply(twin, starts.draw(twin, secured_set(twin, declaration).names, start, seed))
    losses = []
    for sample in samples:
        ids, first = torch.tensor([sample["input_ids"]]), sample["answer_start"]
        with torch.no_grad():
            logits = twin(input_ids=ids, use_cache=False).logits[0, first - 1 : -1].double()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, first:]).item())
    return np.array(losses)


def test_every_set_equals_the_plain_loop_on_every_architecture(model, samples):
    losses = difficulty.Difficulty(model, samples, "xavier", pad_id=0).losses(SETS + MORE, [20, 42])
    for declaration, by_seed in losses.items():
        for seed, values in by_seed.items():
            np.testing.assert_allclose(values, plain_losses(model, samples, declaration, "xavier", seed), rtol=1e-5)


@pytest.mark.parametrize("start", ["normal_0.02", "scale_matched", "neighbour_copy", "skip"])
def test_every_start_equals_the_plain_loop(llama, samples, start):
    sets = ["bottom 2", "layers 1", "layer 2 q,down", "all"]
    losses = difficulty.Difficulty(llama, samples, start, pad_id=0).losses(sets, [20])
    for declaration in sets:
        plain = plain_losses(llama, samples, declaration, start, 20)
        np.testing.assert_allclose(losses[declaration][20], plain, rtol=1e-5)


def test_in_bfloat16_it_is_no_farther_from_float32_than_the_plain_loop(llama, samples):
    exact = difficulty.Difficulty(llama, samples, "xavier", pad_id=0).losses(SETS, [20, 42])
    half = clone(llama).to(torch.bfloat16)
    ours = difficulty.Difficulty(half, samples, "xavier", pad_id=0).losses(SETS, [20, 42])
    off = {"ours": [], "plain": []}
    for declaration in SETS:
        for seed in (20, 42):
            plain = plain_losses(half, samples, declaration, "xavier", seed)
            off["ours"].append(abs(ours[declaration][seed].mean() - exact[declaration][seed].mean()))
            off["plain"].append(abs(plain.mean() - exact[declaration][seed].mean()))
    assert np.mean(off["ours"]) <= 1.5 * np.mean(off["plain"]) < 0.1  # rounding is luck; it must be the same luck


def test_streamed_from_disk_equals_in_memory(model, samples, tmp_path):
    model.save_pretrained(tmp_path)
    streamed = Streamed(tmp_path, torch.float32, torch.device("cpu"))
    ours = difficulty.Difficulty(streamed, samples, "xavier", pad_id=0).losses(SETS, [20])
    theirs = difficulty.Difficulty(model, samples, "xavier", pad_id=0).losses(SETS, [20])
    for declaration in SETS:
        assert np.array_equal(ours[declaration][20], theirs[declaration][20]), declaration


def test_the_model_is_left_as_it_was(llama, samples):
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    score = difficulty.Difficulty(llama, samples, "xavier", pad_id=0)
    first = score.losses(SETS, [20])
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.state_dict().items())
    assert np.array_equal(score.losses(SETS, [20])["layers 1"][20], first["layers 1"][20])


def test_seeds_differ_but_not_where_nothing_is_random(llama, samples):
    losses = difficulty.Difficulty(llama, samples, "xavier", pad_id=0).losses(["bottom 2", "none"], [20, 42])
    assert not np.allclose(losses["bottom 2"][20], losses["bottom 2"][42])
    assert np.array_equal(losses["none"][20], losses["none"][42])


def test_little_memory_means_more_sweeps_and_the_same_numbers(llama, samples, monkeypatch):
    monkeypatch.setattr(answers, "TOKENS", 16)
    asked = []

    def cached(name, compute):
        asked.append(name)
        return compute()

    whole = difficulty.Difficulty(llama, samples, "xavier", 0).losses(SETS, [20])
    score = difficulty.Difficulty(llama, samples, "xavier", 0, memory=20_000, cached=cached)
    parts = score.losses(SETS, [20])
    assert len(set(asked)) == len(asked) > 1
    assert all(np.array_equal(parts[name][20], whole[name][20]) for name in SETS)
    with pytest.raises(StudyError, match=r"8 candidates need .* for one batch"):
        difficulty.Difficulty(llama, samples, "xavier", 0, memory=100).losses(SETS, [20])


def test_one_batch_goes_even_where_it_takes_more_than_usual(llama, samples, monkeypatch):
    """Phi-2's prefixes take 1.05 GB a batch: the notebooks, which say nothing of memory, ended there with an error."""
    whole = difficulty.Difficulty(llama, samples, "xavier", 0).losses(SETS, [20])
    monkeypatch.setattr(difficulty, "MEMORY", 100)
    little = difficulty.Difficulty(llama, samples, "xavier", 0).losses(SETS, [20])
    assert all(np.array_equal(little[name][20], whole[name][20]) for name in SETS)


def test_a_killed_run_goes_on_and_ends_at_the_same_numbers(llama, samples, monkeypatch):
    monkeypatch.setattr(answers, "TOKENS", 16)
    kept = {}

    def cached(name, compute):
        if name not in kept:
            if len(kept) == 1:
                raise KeyboardInterrupt
            kept[name] = compute()
        return kept[name]

    score = difficulty.Difficulty(llama, samples, "xavier", 0, memory=20_000, cached=cached)
    with pytest.raises(KeyboardInterrupt):
        score.losses(SETS, [20])
    kept["another piece, so that the interrupt is over"] = None
    whole = difficulty.Difficulty(llama, samples, "xavier", 0).losses(SETS, [20])
    assert np.array_equal(score.losses(SETS, [20])["all"][20], whole["all"][20])


def test_shared_work_is_done_once(llama, samples):
    score = difficulty.Difficulty(llama, samples, "xavier", pad_id=0)
    assert len(score.batches) == 1
    calls = []
    for layer in llama.model.layers:  # random twins are copies and count too; layers that only hand on do not
        layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    score.losses([f"bottom {layers}" for layers in range(1, 5)], [20])
    assert len(calls) == 4 + 3 + 2 + 1  # four random layers, and three tails
    calls.clear()
    score.losses([f"layers {layer}" for layer in range(4)], [20])
    assert len(calls) == 3 + 4 + 3 + 2 + 1  # the victim's layers below, four random ones, and three tails


def test_a_temperature_takes_confident_errors_away(llama, samples):
    with torch.no_grad():
        llama.lm_head.weight.mul_(30)
    score = difficulty.Difficulty(llama, samples, "xavier", pad_id=0)
    raw = score.losses(["bottom 2"], [20])["bottom 2"][20].mean()
    value, scale = score.calibrated(["bottom 2"], 20)["bottom 2"]
    assert value <= np.log(97) + 1e-6 < raw and 0 <= scale < 1


def test_the_fitted_temperature_is_the_best_one():
    generator = np.random.default_rng(0)
    logits, target = 40 * generator.normal(size=(300, 50)), generator.integers(50, size=300)
    logits[np.arange(300), target] += 30

    def loss(scale):
        scaled = scale * logits
        top = scaled.max(axis=1)
        return np.mean(np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - scaled[np.arange(300), target])

    best = min(loss(scale) for scale in np.linspace(0, 0.2, 2001))
    value, _ = difficulty.lowest(np.array(difficulty.SCALES), np.array([loss(scale) for scale in difficulty.SCALES]))
    assert value == pytest.approx(best, abs=0.02)


def test_summary_averages_samples_then_seeds():
    rows = difficulty.summary({20: np.array([1.0, 3.0]), 42: np.array([3.0, 5.0])})
    assert [row["dd"] for row in rows] == [2.0, 4.0, 3.0]
    # samples of the seed average: 2 and 4, error 1; seeds: 2 and 4, error 1
    assert rows[-1]["stderr"] == pytest.approx(np.sqrt(2))


def test_one_seed_has_no_spread_between_seeds_and_one_sample_an_unknown_error():
    assert difficulty.spread({20: np.array([1.0, 3.0])}) == 1.0
    assert np.isnan(difficulty.spread({20: np.array([1.0]), 42: np.array([3.0])}))


def scores(values, noise=0.0):
    """A stand-in for the measurement: fixed values, the same noise on every set's samples."""
    asked = []

    def ask(declarations):
        asked.append(declarations)
        return {name: {20: np.array([values[name] - noise, values[name] + noise])} for name in declarations}

    return ask, asked


VALUES = {"all": 10.0, "bottom 1": 5.0, "bottom 2": 9.9, "bottom 3": 12.0, "bottom 4": 10.0}


@pytest.mark.parametrize(("epsilon", "expected"), [(0.0, 3), (0.05, 2), (0.5, 1)])
@pytest.mark.parametrize("at_once", [1, 3])
def test_search_stops_at_the_first_prefix_that_passes(epsilon, expected, at_once):
    ask, asked = scores(VALUES)
    found = difficulty.solid_search(ask, 4, epsilon, at_once)
    assert (found.l_star, found.dd, found.ceiling) == (expected, VALUES[f"bottom {expected}"], 10.0)
    assert asked[0][0] == "all" and sum("all" in names for names in asked) == 1
    assert found.evaluated == (expected if at_once == 1 else 3)


def test_search_secures_everything_when_no_prefix_passes():
    ask, _ = scores({"all": 10.0} | {f"bottom {layers}": 1.0 for layers in range(1, 5)})
    found = difficulty.solid_search(ask, 4, 0.05)
    assert (found.l_star, found.dd, found.evaluated) == (4, 1.0, 4)


def test_search_is_judged_on_paired_differences():
    """Noise that all sets share cancels; what is left decides whether l* is certain."""
    ask, _ = scores(VALUES, noise=3.0)
    sure = difficulty.solid_search(ask, 4, 0.05)
    assert sure.certain and sure.warning is None
    ask, _ = scores(VALUES | {"bottom 1": 9.4}, noise=3.0)
    unsure = difficulty.solid_search(ask, 4, 0.05)
    assert unsure.l_star == 2 and not unsure.certain and "bottom 1 is -0.10 ± 0.15" in unsure.warning
