"""A secure world that is killed in the middle of a customer's training is started again, and the training goes on."""

import random
import threading

import pytest
import torch
from transformers import TrainerCallback

from solid_utils.core.errors import StudyError
from solid_utils.runtime import counters, manifest
from solid_utils.runtime.client import SemiOpenForCausalLM
from tests.conftest import VOCABULARY
from tests.runtime.split_model import KEY, divided
from tests.runtime.test_client import losses
from tests.runtime.test_killed_client import EVERY, whole
from tests.runtime.test_process import FORKED, KILLS, served_by_command, waited
from tests.runtime.worlds import served


class Kills(TrainerCallback):
    """Kills the world once a step is reached: at once, or a moment later, in the middle of whatever is asked then."""

    def __init__(self, world, step: int, later: float):
        self.world = world
        self.step = step
        self.later = later
        self.done = 0  # steps

    def at(self, step: int) -> None:
        self.done = step
        if step >= self.step and not self.later or step == 3:  # of four: one more is asked
            self.world.kill()
            self.world.join()
        elif step >= self.step:
            threading.Timer(self.later, self.world.kill).start()

    def on_train_begin(self, args, state, control, **_):
        self.at(state.global_step)

    def on_step_end(self, args, state, control, **_):
        self.at(state.global_step)


def started(folder, place: str):
    """A world in a process of its own, that serves."""
    (folder / "out").unlink(missing_ok=True)
    world = FORKED.Process(target=served_by_command, args=(folder, place))
    world.start()
    waited(folder / "out", "serving")
    assert not [
        path for path in folder.rglob("*.partial-*")
    ]  # one that was killed while it booked has left half a file
    return world


def test_a_training_goes_on_where_its_world_was_killed(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    halves, place, chance = tmp_path / "halves", str(tmp_path / "secure.sock"), random.Random(14)
    rows = torch.randint(1, VOCABULARY, (4, 8), generator=torch.Generator().manual_seed(4))
    samples = [{"input_ids": row, "attention_mask": torch.ones(8).long(), "labels": row} for row in rows]
    with served(halves) as (thread, _, _):
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=thread)
        plain = losses(model, samples, tmp_path / "plain")
        model.secure.close()
    begun = []
    (halves / "sealed/counters.json.partial-1").write_text("half")
    for number in range(KILLS):
        world = started(tmp_path, place)  # over the path that the one before has left
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place)
        kills = Kills(world, (0, 2, 1, 3)[number % 4], chance.uniform(0, 0.05) * (number % 4 > 1))
        begun.append(whole(tmp_path / "killed"))
        with pytest.raises(StudyError, match="the secure world is gone"):
            losses(model, samples, tmp_path / "killed", [kills], begun[-1] or False)
        world.join(60)
        kept = whole(tmp_path / "killed")
        assert (kept or "-0").endswith(f"-{kills.done - kills.done % EVERY}")  # all but what no checkpoint held yet
        counters.read(halves / "sealed", KEY, manifest.sha256(halves / "open"))  # whole, or it raises
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(KEY in data or KEY.hex().encode() in data for data in map(type(tmp_path).read_bytes, files))
    world = started(tmp_path, place)
    try:
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place)
        assert losses(model, samples, tmp_path / "killed", resume=kept) == plain
    finally:
        world.kill()
    assert begun[0] is None and kept is not None  # which the last one began at
