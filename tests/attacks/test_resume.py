"""Killed by -9 anywhere and started again, an attack ends at the same numbers: recording, training, saving."""

import gc
import json
import multiprocessing
import os
import random
import signal
from dataclasses import replace
from itertools import count

import pytest

from solid_utils.deployment import oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import recorded, training
from tests.attacks.test_attacks import attack, attacker, recording
from tests.conftest import build

RECIPE = Recipe(batch=2, steps=6, learning_rate=1e-2, weight_decay=0.1, schedule="cosine", warmup=0.1, validate_every=2)
processes = multiprocessing.get_context("forkserver")  # a new process without new imports
processes.set_forkserver_preload([attack.__module__, "transformers.models.llama.modeling_llama"])


def work(name, declaration, samples, folder, kill_at):
    """One attack from the oracle to the replica. Its process dies at the `kill_at`-th batch, recording included."""
    gc.freeze()
    recorded.TOKENS, recorded.FILE_BYTES = 16, 1  # several files
    calls = count(1)

    def mortal(function):
        def called(*arguments):
            if next(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return called

    oracle.Oracle.leaving = mortal(oracle.Oracle.leaving)
    victim = build("llama")
    secured = secured_set(victim, declaration)
    answers = recording(victim, secured, samples, folder) if name == "sem" else None
    model = attacker(victim, secured)
    plan = attack(name, model, secured, samples, folder, answers)
    plan = replace(plan, loss=mortal(plan.loss))

    def validate(model):
        return {"norm": float(sum(parameter.detach().norm() for parameter in model.parameters()))}

    history = training.train(
        model, plan.trainable, plan.samples, plan.loss, validate, RECIPE, 42, 0, folder / "trainer"
    )
    total = [parameter.double().sum().item() for parameter in model.parameters()]
    (folder / "end.json").write_text(json.dumps([history, total]))


def exit_code(*arguments):
    process = processes.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


KILLED = random.Random(4)
CASES = [
    ("ft_all", "layers 0", 6),  # batches of the whole attack
    ("ft_closed", "top 1", 6),
    ("sem", "layers 0", 10),
    ("sem", "layers 1-2", 10),
]


@pytest.mark.parametrize(("name", "declaration", "batches"), CASES)
def test_killed_and_started_again_it_ends_at_the_same_numbers(name, declaration, batches, samples, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    assert exit_code(name, declaration, samples, whole, batches + 1) == 0
    for kill_at in (KILLED.randint(1, batches // 2), KILLED.randint(1, batches // 2)):  # twice: it may have gone on
        assert exit_code(name, declaration, samples, cut, kill_at) == -signal.SIGKILL
    # A save cut short leaves a folder without a readable trainer_state.json; it must be passed over.
    (cut / "trainer" / "checkpoint-99").mkdir(parents=True)
    (cut / "trainer" / "checkpoint-99" / "trainer_state.json").write_text("{")
    assert exit_code(name, declaration, samples, cut, 0) == 0
    assert (cut / "end.json").read_text() == (whole / "end.json").read_text()
