"""The engine: batches fixed by the seed, only the named parameters trained, one line where it cannot go on."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from solid_utils.core import notebook_page
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training
from tests.conftest import build

RECIPE = Recipe(batch=2, steps=6, learning_rate=1e-2, weight_decay=0.1, schedule="cosine", warmup=0.1, validate_every=2)


# Trainer's: the first is never read, the second with weights_only.
TRAINERS = {"training_args.bin", "rng_state.pth"}


def train(model, samples, folder, recipe=RECIPE, trainable=None, validated=99):
    """A run that dies in validation number `validated`."""
    trainable, left = trainable or {name for name, _ in model.named_parameters()}, iter(range(1, validated))

    def validate(model):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return {"norm": float(sum(parameter.detach().norm() for parameter in model.parameters()))}

    return training.train(model, trainable, samples, training.answer_loss, validate, recipe, 42, 0, folder)


def test_every_epoch_visits_every_sample_once():
    lengths = [3, 9, 1, 5, 7]
    indices = training.order(lengths, batch=2, steps=10, seed=42)
    assert all(sorted(indices[start : start + 5]) == [0, 1, 2, 3, 4] for start in range(0, 20, 5))
    assert indices == training.order(lengths, batch=2, steps=10, seed=42)
    assert indices != training.order(lengths, batch=2, steps=10, seed=20)


def test_batches_hold_similar_lengths():
    lengths = list(range(64))
    indices = training.order(lengths, batch=8, steps=8, seed=42)
    spreads = [max(indices[i : i + 8]) - min(indices[i : i + 8]) for i in range(0, 64, 8)]
    assert max(spreads) == 7  # one window: sorted, so each batch is a run of neighbours


def test_answer_loss_is_transformers_own(llama, samples):
    batch = training.Collator(0)(samples)
    labels = torch.full_like(batch["input_ids"], -100)
    for row, sample in enumerate(samples):
        labels[row, sample["answer_start"] : len(sample["input_ids"])] = batch["input_ids"][
            row, sample["answer_start"] : len(sample["input_ids"])
        ]
    plain = llama(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    assert training.answer_loss(llama, batch).item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.parametrize("tokens", [None, 12, 24, 1000])
def test_pieces_of_a_batch_give_the_gradient_of_the_whole(llama, samples, tokens):
    batch = training.Collator(0)(samples)
    training.answer_loss(llama, batch).backward()
    whole = {name: parameter.grad.clone() for name, parameter in llama.named_parameters()}
    llama.zero_grad()
    parts = list(training.pieces(batch, tokens))
    for piece, share in parts:
        assert piece["input_ids"].numel() <= (tokens or 1000) and piece["attention_mask"].any(0).all()
        (share * training.answer_loss(llama, piece)).backward()
    assert len(parts) == {None: 1, 12: 5, 24: 3, 1000: 1}[tokens]
    for name, parameter in llama.named_parameters():
        assert torch.allclose(parameter.grad, whole[name], rtol=1e-4, atol=1e-6), name


def test_pieces_of_texts_without_answers_count_all_tokens(samples):
    texts = [sample | {"answer_start": len(sample["input_ids"])} for sample in samples]
    shares = [share for _, share in training.pieces(training.Collator(0)(texts), 24)]
    assert shares == pytest.approx([12 / 43, 19 / 43, 12 / 43])


def test_only_the_named_parameters_move(llama, samples, tmp_path):
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    chosen = {"model.layers.0.mlp.up_proj.weight"}
    history = train(llama, samples, tmp_path, trainable=chosen)
    moved = {name for name, tensor in llama.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == chosen
    assert [row["step"] for row in history] == [0, 2, 4, 6]
    assert all("validation_norm" in row for row in history)


def test_each_validation_is_made_once(llama, samples, tmp_path):
    asked = []
    training.train(llama, {"lm_head.weight"}, samples, training.answer_loss, lambda model: asked.append(1) or {},
                   RECIPE, 42, 0, tmp_path)  # fmt: skip
    assert len(asked) == 1 + RECIPE.steps // RECIPE.validate_every  # before the first step, and every second one


def test_a_training_tells_the_time_left_and_ends_with_a_line_that_a_notebook_keeps(
    llama, samples, tmp_path, capsys, monkeypatch
):
    ticks = itertools.count(0, 11)  # every step takes longer than what is waited for
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    train(llama, samples, tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("memory: ")]
    assert said[-1] == "training: 6 of 6" and len(said) == 7
    assert all(notebook_page.STEP.fullmatch(line) for line in said[:-1])


def test_training_lowers_the_loss(llama, samples, tmp_path):
    history = train(llama, samples, tmp_path, RECIPE.model_copy(update={"steps": 40, "validate_every": 10}))
    losses = [row["loss"] for row in history if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]


def test_autocast_around_a_training_is_refused(llama, samples, tmp_path):
    """Its rounded weights would stay those of the first step."""
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(StudyError, match="open it in the loss"):
        train(llama, samples, tmp_path)


def test_a_loss_that_is_not_finite_stops_in_one_line(llama, samples, tmp_path):
    with torch.no_grad():
        llama.lm_head.weight.fill_(float("nan"))
    with pytest.raises(StudyError, match="loss is nan at step 1; lower learning_rate"):
        train(llama, samples, tmp_path, RECIPE.model_copy(update={"validate_every": 100}))


def test_a_checkpoint_is_read_back_to_the_bit_or_refused(samples, tmp_path):
    first, second = build("llama"), build("llama")
    chosen = {"model.layers.0.mlp.up_proj.weight"}
    train(first, samples, tmp_path, trainable=chosen)
    train(second, samples, tmp_path, trainable=chosen)  # nothing is left to do
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    path = tmp_path / "checkpoint-6" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StudyError, match="model.safetensors: .*up_proj.weight is not what was written"):
        train(second, samples, tmp_path, trainable=chosen)
    path.write_bytes(whole)
    with pytest.raises(StudyError, match="lm_head.weight is not in both file and model; delete its folder"):
        train(second, samples, tmp_path, trainable=chosen | {"lm_head.weight"})


def test_a_resumed_run_ends_at_the_same_bits_and_unpickles_nothing(samples, tmp_path, monkeypatch):
    whole, first, second = build("llama"), build("llama"), build("llama")
    train(whole, samples, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(first, samples, tmp_path / "cut", validated=3)
    loads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **options: loads.append(options) or load(*a, **options))
    train(second, samples, tmp_path / "cut")
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in whole.state_dict().items())
    assert [options.get("weights_only") for options in loads] == [True]  # the state of random numbers, by Trainer
    left = {path.name for path in (tmp_path / "cut" / "checkpoint-6").rglob("*") if path.is_file()}
    assert {name for name in left if not name.endswith((".json", ".safetensors"))} <= TRAINERS


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{}", b"\x80\x04cos\nsystem\n"], ids=["nothing", "list", "empty", "pickle"]
)
def test_a_training_state_that_is_none_is_one_line(llama, samples, tmp_path, damage):
    train(llama, samples, tmp_path)
    (tmp_path / "checkpoint-6" / "optimizer" / "whole.json").write_bytes(damage)
    with pytest.raises(StudyError, match="whole.json: no state of this training; delete the checkpoint's folder"):
        train(llama, samples, tmp_path)


def test_too_little_memory_stops_before_the_run(llama, samples, tmp_path, monkeypatch):
    class Nothing:
        available = 1_000

    monkeypatch.setattr(accelerator.psutil, "virtual_memory", Nothing)
    with pytest.raises(StudyError, match="memory: training needs about .* GB, 0.0 GB available; close programs"):
        train(llama, samples, tmp_path)


def test_without_samples_there_is_no_order():
    with pytest.raises(StudyError, match="training: no samples"):
        training.order([], 4, 2, 42)
