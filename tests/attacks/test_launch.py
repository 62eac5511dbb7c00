"""The paper's tier on a folder's bfloat16 model, budgets cut: the path of the 7B runs, in one process and in two."""

import json
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from solid_utils.attacks import launch
from solid_utils.attacks.run import AttackRun
from solid_utils.core import files, paths
from solid_utils.core.errors import StudyError
from solid_utils.model import models
from solid_utils.settings import params, reading
from tests.conftest import byte_llama

ROOT = Path(__file__).parents[2]
SEM = {"queries": 24, "epochs": 2, "batch": 8, "length": 48, "warmup_steps": 1, "validate_every": 3}
EVALUATION = {"samples": 2, "apart": {"texts": 2, "length": 32}, "greedy": {"prompts": 2, "new_tokens": 4}}
BUDGET = {"length": 64, "evaluation": EVALUATION, "attack": {"seeds": [42], "validation": 3, "sem": SEM}}
MINE = {"source": "folder", "path": "mine", "weights": "bfloat16", "autocast": "bfloat16", "budget": {"paper": BUDGET}}


@pytest.fixture
def prepared(tmp_path, monkeypatch, tokenizer):
    """A function that begins the 7B stage's attack on a tiny model, in a folder of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def begin(**parallel) -> AttackRun:
        folder = tmp_path / str(parallel.get("processes", 1))
        folder.mkdir()
        monkeypatch.chdir(folder)
        byte_llama(0).save_pretrained("mine")
        tokenizer.save_pretrained("mine")
        for name, count in (("attack", 24), ("validation", 3), ("evaluation", 2), ("apart_c4", 2), ("apart_code", 2)):
            prompts = [f"{name} {number}: " + "what is next? " * (1 + number % 2) for number in range(count)]
            same = {"source": "alpaca", "answer": "nothing"}
            items = [same | {"id": prompt, "prompt": prompt, "text": prompt} for prompt in prompts]
            files.write_lines(items, paths.SETS / f"{name}.jsonl")
        raw = reading.read(ROOT / "params.yaml") | {"tier": "paper", "threads": 1}
        raw["models"]["mine"] = MINE | {"parallel": {"sem": parallel}}
        raw["data"]["source"] = "hub"
        raw["study"] |= {"models": ["mine"], "attacks": ["layer0-sem"]}
        Path("params.yaml").write_text(yaml.safe_dump(raw))
        models.materialise(models.victim_folder("mine"), params.load().model("mine"))
        return AttackRun("mine", "layer0-sem")

    return begin


def replica(attack: AttackRun) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file((attack.state.folder / "seed-42.safetensors").absolute())


def test_the_stage_of_the_7b_run(prepared):
    attack = prepared()
    assert attack.row(42, 6)["recipe"] == "adamw 0.00015, decay 0.01, linear, batch 8 x 48 tokens, mse"
    launch.train(attack)
    assert not attack.trained, "one process trains where the notebook says so"
    history = attack.train(42)
    assert [row["step"] for row in history] == [0, 3, 6] and history[-1]["loss"] < history[1]["loss"]
    kept = replica(attack)
    assert set(kept) == set(attack.secured.names) and {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    checkpoint = attack.state.folder / "trainer-42" / "checkpoint-6" / "model.safetensors"
    assert {tensor.dtype for tensor in safetensors.torch.load_file(checkpoint).values()} == {torch.float32}
    assert {parameter.dtype for parameter in attack.replica(42).parameters()} == {torch.bfloat16}


def test_two_processes_leave_what_one_leaves(prepared, capfd):
    alone = prepared()
    expected, weights = alone.train(42), replica(alone)
    attack = prepared(processes=2)
    launch.train(attack)
    said = capfd.readouterr().out
    assert said.count("memory: training needs") == 2, "once in this process, then from the first of the others"
    assert attack.trained
    history = json.loads((attack.state.folder / "history-42.json").read_text())
    assert history == attack.train(42) == [pytest.approx(row, rel=1e-2) for row in expected]
    for name, tensor in replica(attack).items():
        assert torch.allclose(tensor.float(), weights[name].float(), rtol=2e-2, atol=1e-3), name


def test_output_is_streamed_and_an_error_is_one_line(capfd):
    code = "import sys; print('step 1'); sys.exit('error: memory: too little')"
    with pytest.raises(StudyError, match="^memory: too little$"):
        launch.run([sys.executable, "-c", code], "attacks.solid-ft_all")
    assert "step 1\n" in capfd.readouterr().out
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(StudyError, match=r"^attacks.solid-ft_all: a training process ended early \(status -9\), its"):
        launch.run([sys.executable, "-c", killed], "attacks.solid-ft_all")


def test_more_processes_than_gpus_are_refused(prepared, monkeypatch):
    attack = prepared(processes=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(StudyError, match="models.mine.parallel.sem.processes: 2 asked, 1 GPUs there; ask"):
        launch.train(attack)
