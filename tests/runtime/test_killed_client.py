"""A client that is killed in the middle of a training goes on from its last whole checkpoint, at the same numbers."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from solid_utils.runtime.client import SemiOpenForCausalLM
from tests.conftest import VOCABULARY
from tests.runtime.split_model import divided
from tests.runtime.test_client import losses
from tests.runtime.worlds import served

FORKED = multiprocessing.get_context("fork")
KILLS = 20 if "SOLID_FUZZ" in os.environ else 3
EVERY = 2  # steps, of a checkpoint


class Tells(TrainerCallback):
    """Says over a pipe which step has ended."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_step_end(self, args, state, control, **_):
        self.pipe.send(state.global_step)


def whole(folder: Path) -> str | None:
    """The last checkpoint that was written to its end: what Trainer writes last is its own state."""
    found = []
    for path in folder.glob("checkpoint-*"):
        try:
            found.append((json.loads((path / "trainer_state.json").read_text())["global_step"], str(path)))
        except (OSError, ValueError):
            continue  # killed while it was written
    return max(found, default=(0, None))[1]


def customer(halves: Path, place: str, folder: Path, samples: list[dict], pipe) -> None:
    """Trains on from wherever the one before was killed, and says the losses."""
    torch.set_num_threads(1)
    model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place)
    pipe.send(losses(model, samples, folder, callbacks=[Tells(pipe)], resume=whole(folder) or False))


def told(pipe) -> list | int:
    assert pipe.poll(120), "the client says nothing"
    return pipe.recv()


def test_a_killed_client_trains_on_at_the_same_numbers(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    rows = torch.randint(1, VOCABULARY, (4, 8), generator=torch.Generator().manual_seed(4))
    samples = [{"input_ids": row, "attention_mask": torch.ones(8).long(), "labels": row} for row in rows]
    chance, resumed = random.Random(13), []
    with served(tmp_path / "halves") as (place, server, lines):
        model = SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        plain = losses(model, samples, tmp_path / "plain")
        model.secure.close()
        for number in range(KILLS + 1):
            mine, theirs = FORKED.Pipe()
            arguments = (tmp_path / "halves", place, tmp_path / "killed", samples, theirs)
            client = FORKED.Process(target=customer, args=arguments)
            client.start()
            step = told(mine)
            resumed.append(step)
            if number == KILLS:  # the last one lives
                while isinstance(step, int):
                    step = told(mine)
                client.join(60)
                assert step == plain
                break
            while number % 3 and isinstance(step, int) and step < 1 + number % 3:
                step = told(mine)  # at the first, second or third step of this life, or while it writes a checkpoint
            time.sleep(chance.uniform(0, 0.05))
            os.kill(client.pid, signal.SIGKILL)
            client.join(60)
        for _ in range(100):
            if server.sessions:
                time.sleep(0.05)  # its thread has not seen yet that the last one went
        assert server.sessions == 0 and sum("closed" in line for line in lines) >= 2
    # One at least began at a checkpoint; where that was the last step, its first word is all the losses.
    assert resumed[0] == 1 and any(isinstance(step, list) or step > EVERY for step in resumed)
