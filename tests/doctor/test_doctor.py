"""The doctor: a line a check, status 1 where something needed is missing; the tier for one GPU fits one by the plan."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from transformers import LlamaForCausalLM

from solid_utils.core.errors import StudyError
from solid_utils.doctor import checks, doctor, shapes, work
from solid_utils.settings import params, reading

ROOT = Path(__file__).parents[2]
CARD = ["--memory", "24GB", "--rate", "60e12"]  # as docs/gpu.md has it


def settings(folder: Path, **changes) -> Path:
    """The shipped settings with sections changed."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(reading.read(ROOT / "params.yaml") | changes))
    return path


@pytest.fixture(scope="module")
def gpu_study(tmp_path_factory) -> Path:
    """The settings that docs/gpu.md tells to write for one card."""
    block = re.search(r"```yaml\n(tier: gpu.*?)```", (ROOT / "docs/gpu.md").read_text(), re.DOTALL)
    return settings(tmp_path_factory.mktemp("gpu"), **yaml.safe_load(block[1]))


@pytest.fixture(scope="module")
def stages(gpu_study) -> dict[str, work.Stage]:
    study = params.load(gpu_study)
    skeleton = work.skeleton_of(shapes.shape(study, "phi-2"), study.model("phi-2"))
    return {stage.name: stage for stage in work.stages(study, "phi-2", skeleton, 24e9, gpu=True)}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("phi-2", 2_779_683_840), ("phi-1_5", 1_418_270_720), ("opt-350m", 331_196_416), ("smollm2-135m", 134_515_008)],
)
def test_published_shapes_have_the_models_own_size(name, parameters):
    study = params.load(ROOT / "params.yaml")
    skeleton = work.skeleton_of(shapes.shape(study, name), study.model(name))
    assert sum(parameter.numel() for parameter in skeleton.parameters.values()) == parameters


def test_the_gpu_tier_fits_one_card_and_a_few_hours(stages):
    study = {"labels", "dd", "scan", "attack solid-ft_all-lora", "attack layers0_3-sem", "customize solid-math"}
    assert study < set(stages)
    assert {name: stage.memory for name, stage in stages.items() if stage.memory > 24e9} == {}
    hours = sum(doctor.seconds(stage, 32, 60e12, 2e8) for stage in stages.values()) / 3600
    assert 2 < hours < 4


@pytest.fixture
def roomy(monkeypatch):
    """A disk with room for anything: what is free here is no part of a test."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**15))


def test_a_wholly_trained_model_does_not_fit_the_card(gpu_study, tmp_path, capsys, monkeypatch, roomy):
    monkeypatch.setattr(checks, "checks", lambda study: [])
    raw = yaml.safe_load(gpu_study.read_text())
    raw["study"] |= {"attacks": ["fully_secured-ft_all"], "customizations": []}
    assert doctor.main(["--params", str(settings(tmp_path, **raw)), *CARD]) == 1
    said = capsys.readouterr().out
    assert "MISSING memory for phi-2: attack fully_secured-ft_all" in said and "of 24 GB; leave these out" in said
    assert said.splitlines()[-1] == "1 missing: memory for phi-2"


def test_flops_of_a_stage_are_those_that_the_runs_report(stages):
    """SEM on layer 0: 6 FLOPs a token and parameter; and never less than the scores of start and end."""
    sem, deep, base = stages["attack layer0-sem"], stages["attack layers0_3-sem"], stages["baseline"]
    layer, tokens = 78_671_360, 2000 * 16 * 128
    assert deep.flops - sem.flops == pytest.approx(3 * layer * 6 * tokens, rel=1e-9)
    assert sem.flops > 2 * base.flops + 6 * layer * tokens


def test_pairs_are_counted_as_their_training_counts_them():
    """Two sides a pair, and logits at every position, which answers alone never have."""
    study = params.load(ROOT / "params.yaml")
    runs = {
        name: params.CustomizationRun(secured="bottom 1", domain=domain, recipe={"small": {"method": method}})
        for name, domain, method in (("pairs", "alignment", "simpo"), ("answers", "reasoning", "lora"))
    }
    study = study.model_copy(update={"tier": "small", "customizations": runs})
    skeleton = work.skeleton_of(shapes.shape(study, "smollm2-135m"), study.model("smollm2-135m"))
    plan = work.Work(study, "smollm2-135m", skeleton, 24e9, False)
    pairs, answers = (plan.customization(name) for name in runs)
    logits = 4 * 4 * 1024 * 49152  # four of float32; two sides of 256 tokens, two pairs within device_tokens
    assert pairs.memory - answers.memory == pytest.approx(logits, rel=1e-6)


def test_a_full_disk_is_missing(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert doctor.space(1e9).well and not doctor.space(1.1e9).well


def test_a_checkup_on_a_cpu(tmp_path, capsys, monkeypatch, roomy):
    """The tiny tier of a random model: all is there; every line begins with its verdict or belongs to the plan."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(checks, "driver", lambda: "")
    monkeypatch.delenv("SOLID_DATA", raising=False)
    path = settings(tmp_path, tier="tiny", study={"models": ["tiny"], "attacks": ["layer0-sem"], "customizations": []})
    assert doctor.main(["--params", str(path), "--rate", "1e10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tier tiny, models tiny: settings are right" and lines[-1] == "nothing is missing"
    assert all(re.match(r"ok      |plan of tiny|  \w", line) for line in lines[1:-1])
    assert sum(line.startswith("  ") for line in lines) == 6  # victim, labels, baseline, dd, scan, attack


@pytest.mark.parametrize(
    ("model", "token", "offline", "complaint"),
    [
        ("phi-2", None, "0", ""),
        ("phi-2", "hf_secret", "1", "unset HF_HUB_OFFLINE"),
        ("llama2-7b-chat", None, "0", "is gated, and no token is here; accept its licence, then hf auth login"),
        ("llama2-7b-chat", "hf_secret", "0", ""),
    ],
)
def test_a_hub_model_and_its_token(model, token, offline, complaint, monkeypatch):
    monkeypatch.setattr(checks.huggingface_hub, "get_token", lambda: token)
    monkeypatch.setattr(checks.huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    check = checks.model(model, params.load(ROOT / "params.yaml").model(model))
    assert check.well == (not complaint) and complaint in str(check)
    assert "secret" not in str(check) and "\n" not in str(check)


def test_what_is_missing_says_its_fix(tmp_path, monkeypatch):
    spec = params.Model(source="folder", path=str(tmp_path), weights="float32", autocast=None)
    assert "no config.json" in str(checks.model("mine", spec)) and not checks.model("mine", spec).well
    LlamaForCausalLM(
        shapes.LlamaConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=32
        )
    ).save_pretrained(tmp_path)
    assert checks.model("mine", spec).well
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["torch==0.1", "no-such-thing==1"]\n')
    check = checks.packages(project)
    assert not check.well and "not 0.1, no-such-thing none, not 1; make setup" in str(check)
    monkeypatch.setattr(checks, "driver", lambda: "NVIDIA A10, 550.54, 24564 MiB")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "install PyTorch's CUDA build" in str(checks.gpu())
    monkeypatch.setenv("SOLID_DATA", str(tmp_path / "nowhere"))
    assert "is no folder" in str(checks.data(params.load(ROOT / "params.yaml"))[0])


def test_a_cpu_that_would_take_days_lacks_a_gpu(monkeypatch):
    monkeypatch.setattr(doctor.accelerator, "device", lambda: torch.device("cpu"))
    assert not doctor.patience(2 * doctor.PATIENCE, None).well
    assert doctor.patience(2 * doctor.PATIENCE, 60e12).well and doctor.patience(60, None).well


def test_wrong_settings_are_one_line(tmp_path):
    with pytest.raises(StudyError, match="tier: unknown name 'huge'"):
        doctor.main(["--params", str(settings(tmp_path, tier="huge"))])
