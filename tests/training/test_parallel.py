"""Several processes train like one: the same global batches, the same gradient, and only the first one writes."""

import gc
import json
import multiprocessing
import os
import socket

import pytest
import safetensors.torch
import torch

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.model import accelerator, models
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import parallel, training
from tests.attacks.test_attacks import attack, attacker, recording
from tests.conftest import build

RECIPE = Recipe(
    batch=4, steps=6, device_tokens=16, learning_rate=1e-2, weight_decay=0.1, schedule="cosine", validate_every=2
)  # fmt: skip
processes = multiprocessing.get_context("forkserver")  # a new process without new imports
processes.set_forkserver_preload([attack.__module__, "transformers.models.llama.modeling_llama"])


def work(name, samples, folder, shared):
    """One attack on `samples` from the oracle to the replica; notes its batches, its history and the weights."""
    victim = build("llama")
    secured, seen = secured_set(victim, "layers 0"), []
    with accelerator.processes().main_process_first():
        answers = recording(victim, secured, samples, shared) if name == "sem" else None
    model = attacker(victim, secured)
    plan = attack(name, model, secured, samples, shared, answers)

    def loss(model, batch):
        seen.append(batch["number"].tolist())
        return plan.loss(model, batch)

    def validate(model):
        return {"norm": float(sum(parameter.detach().norm() for parameter in model.parameters()))}

    history = training.train(model, plan.trainable, plan.samples, loss, validate, RECIPE, 42, 0, shared / "trainer")
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(dict(model.state_dict()), folder / "weights.safetensors")
    world = accelerator.processes().num_processes
    (folder / "end.json").write_text(json.dumps({"seen": seen, "history": history, "world": world}))


def as_one_of(rank, world, port, function, *arguments):
    """Run `function` as a process that torch.distributed.run started."""
    gc.freeze()
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    function(*arguments)
    torch.distributed.destroy_process_group()


def together(world, function, *arguments):
    """Run `function(rank's folder, ...)` in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    *arguments, folders = arguments
    started = [
        processes.Process(target=as_one_of, args=(rank, world, port, function, *arguments, *folders(rank)))
        for rank in range(world)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * world


def outcome(folder):
    return json.loads((folder / "end.json").read_text()), safetensors.torch.load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("name", ["ft_all", "sem"])
def test_two_processes_train_like_one(name, samples, tmp_path):
    """Samples of different lengths: the processes' parts of a batch hold unlike numbers of answer tokens."""
    if name == "sem":  # texts without an answer
        samples = [sample | {"answer_start": len(sample["input_ids"])} for sample in samples]
    work(name, samples, tmp_path / "alone", tmp_path / "one")
    together(2, work, name, samples, lambda rank: (tmp_path / f"rank{rank}", tmp_path / "two"))
    alone, weights = outcome(tmp_path / "alone")
    ranks = [outcome(tmp_path / f"rank{rank}") for rank in range(2)]
    assert [facts["world"] for facts, _ in ranks] == [2, 2]
    assert ranks[0][0]["seen"] != ranks[1][0]["seen"], "both do the same work"
    assert batches(*(facts["seen"] for facts, _ in ranks)) == batches(alone["seen"])
    for facts, replica in ranks:
        assert facts["history"] == [pytest.approx(row, rel=1e-4) for row in alone["history"]]
        for key, tensor in weights.items():
            assert torch.allclose(replica[key], tensor, rtol=1e-4, atol=1e-5), key
    assert all(torch.equal(ranks[1][1][key], tensor) for key, tensor in ranks[0][1].items())


def sharded_work(samples, folder, shared, stop):
    """FT-all on a sharded model; with `stop` its process ends in that step and another goes on from the checkpoint."""
    victim = build("llama")
    secured = secured_set(victim, "layers 0")
    model, seen = attacker(victim, secured), []
    plan = attack("ft_all", model, secured, samples, shared)

    def loss(model, batch):
        seen.append(batch["number"].tolist())
        if len(seen) == stop:
            os._exit(0)
        return plan.loss(model, batch)

    def validate(model):
        return {"loss": training.answer_loss(model, training.Collator(0)(samples)).item()}

    arguments = plan.trainable, plan.samples, loss, validate, RECIPE, 42, 0, shared / "trainer"
    history = training.train(model, *arguments, shard=True)
    shapes = {name: list(parameter.to_local().shape) for name, parameter in model.named_parameters()}
    folder.mkdir()
    models.save_delta(model, victim, folder / "weights.safetensors")
    world = accelerator.processes().num_processes
    (folder / "end.json").write_text(json.dumps({"shapes": shapes, "history": history, "world": world}))


def test_a_sharded_model_trains_like_a_whole_one(samples, tmp_path):
    """Torch's FSDP2 on two processes, killed after a checkpoint: shards go on and the whole replica is written once."""
    work("ft_all", samples, tmp_path / "alone", tmp_path / "one")
    alone, weights = outcome(tmp_path / "alone")
    for stop in (5, 0):
        together(2, sharded_work, samples, lambda rank, stop=stop: (tmp_path / f"rank{rank}", tmp_path / "two", stop))
    written = {path.name for path in (tmp_path / "two").rglob("checkpoint-6/optimizer/*")}
    assert written == {f"{rank}-of-2.{suffix}" for rank in range(2) for suffix in ("json", "safetensors")}
    facts, replica = outcome(tmp_path / "rank0")
    assert facts["world"] == 2 and not (tmp_path / "rank1" / "weights.safetensors").exists()
    for name, tensor in weights.items():
        assert facts["shapes"][name] == [-(-tensor.shape[0] // 2), *tensor.shape[1:]], name
        assert torch.allclose(replica[name].float(), tensor, rtol=1e-2, atol=1e-4), name
    for row, other in zip(facts["history"][1:], alone["history"][1:], strict=True):
        assert (row["loss"], row["grad_norm"]) == pytest.approx((other["loss"], other["grad_norm"]), rel=1e-3)


def batches(*seen):
    """The samples of each global batch, sorted, from the pieces that processes saw."""
    rows = [iter([number for piece in pieces for number in piece]) for pieces in seen]
    each = RECIPE.batch // len(seen)
    return [sorted(next(row) for row in rows for _ in range(each)) for _ in range(RECIPE.steps)]


def test_a_batch_that_does_not_divide_is_one_line(monkeypatch):
    monkeypatch.setattr(accelerator, "processes", lambda: type("Two", (), {"num_processes": 2}))
    assert parallel.device_batch(6) == 3
    with pytest.raises(StudyError, match="batch of 5 does not divide among 2 processes; set batch to a multiple of 2"):
        parallel.device_batch(5)
