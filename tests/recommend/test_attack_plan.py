"""The attack's plan is counted from shapes alone, and the run then does what it says."""

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.difficulty import sweep
from solid_utils.difficulty.weights import Skeleton, Streamed
from solid_utils.model import accelerator, answers
from solid_utils.recommend import attack
from solid_utils.recommend.attack_plan import AttackPlanner
from solid_utils.recommend.plan import PROGRAM, Planner, Rates
from solid_utils.recommend.texts import Asked
from tests.attacks.test_linear_map import texts

CPU, ASKED = torch.device("cpu"), Asked(texts(27), [[3, 4]], "here")


def planner(llama, samples, memory: float) -> AttackPlanner:
    """Of a streamed run; `memory` beyond what the program takes."""
    rates = Rates(multiply=1e9, draw=1e8, read=1e9)
    search = Planner(Skeleton(llama.config, torch.float32), samples, "xavier", PROGRAM + memory, True, rates)
    lengths = [len(sample["input_ids"]) for sample in ASKED.samples]
    return AttackPlanner(search, lengths, attack.PREVIOUS, attack.SEED, exact=1e9)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(answers, "TOKENS", 16)
    monkeypatch.setattr(accelerator, "device", lambda: CPU)


def test_the_run_does_what_the_plan_says(llama, samples, tmp_path, small_batches, monkeypatch):
    whole = planner(llama, samples, 10e9).plan([1, 2, 4])
    least = whole.weights + whole.fit + 2 * whole.asked * 16 * 4 - PROGRAM
    plan = planner(llama, samples, least + 15 * 9 * 16 * 4).plan([1, 2, 4])  # a batch of 10 or 12 tokens, or two of 7
    assert len(whole.groups) == 1 < len(plan.groups)

    llama.save_pretrained(tmp_path)
    source, done = Streamed(tmp_path, torch.float32, CPU), {"read": 0, "drawn": 0}
    read, draw = source.read, sweep.starts.draw

    def noted(name):
        tensor = read(name)
        done["read"] += tensor.nbytes
        return tensor

    def counted(*args):
        drawn = draw(*args)
        done["drawn"] += sum(tensor.numel() for tensor in drawn.values())
        return drawn

    monkeypatch.setattr(source, "read", noted)
    monkeypatch.setattr(sweep.starts, "draw", counted)
    found = attack.run(source, "xavier", plan, ASKED, samples, 0)
    assert (done["read"], done["drawn"]) == (plan.bytes_read, plan.drawn)
    assert found == attack.run(Streamed(tmp_path, torch.float32, CPU), "xavier", whole, ASKED, samples, 0)


def test_work_by_hand(llama, samples):
    plan = planner(llama, samples, 10e9).plan([1, 2])
    layer = 16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 32
    held, asked = plan.tokens, plan.asked
    answer_tokens = sum(len(sample["input_ids"]) - sample["answer_start"] for sample in samples)
    # Layer 0: the victim and one random; layer 1: another random and the first map's; from layer 2 on five.
    expected = layer * (2 + 4 + 5 + 5) * held + layer * 2 * asked
    expected += 97 * 16 * 5 * answer_tokens + 2 * (2 + 3 * 16) * 16 * held
    assert plan.flops == 2 * expected
    assert plan.bytes_read == plan.pass_bytes == 4 * 4 * (layer + 2 * 16)


def test_what_does_not_fit_is_one_line(llama, samples):
    with pytest.raises(
        StudyError, match=r"memory: 500 MB allowed, the attack on 2 prefixes needs .*--no-attack"
    ) as error:
        planner(llama, samples, 0).plan([1, 2])
    assert "\n" not in str(error.value)


def test_the_plan_is_said_beforehand_with_the_largest_set_that_may_come(llama, samples):
    found = planner(llama, samples, 10e9)
    text = attack.announced(found)
    assert text.startswith("attack: a linear map for bottom 1, bottom 2, bottom 4; 27 texts asked (")
    assert "a plain loop would make 12" in text and "time    at least " in text and " fitting" in text
    assert "later" not in text  # bottom 4 are all layers
    assert attack.prefixes(12, 5) == [1, 2, 4, 5, 8] and attack.prefixes(3) == [1, 2]
