from pathlib import Path

import pytest
import torch
import yaml

from solid_utils.attacks import declared
from solid_utils.core.errors import StudyError
from solid_utils.settings import params, reading

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def changed(tmp_path, key, value):
    """The shipped parameters with one key changed."""
    raw = reading.read(SHIPPED)
    *path, last = key.split(".") if isinstance(key, str) else key
    section = raw
    for part in path:
        section = section[part]
    section[last] = value
    target = tmp_path / "params.yaml"
    target.write_text(yaml.safe_dump(raw))
    return target


def test_the_shipped_file_is_valid_for_every_model_and_tier(tmp_path):
    study = params.load(SHIPPED)
    for tier in study.tiers:
        path = changed(tmp_path, "data.source", "hub" if tier == "paper" else "packaged")
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"tier": tier}))
        whole = params.load(path)
        for model in whole.models:
            whole.budgets(model)
            for run in whole.attacks:
                declared.recipe(whole, model, run)


def test_the_papers_hyperparameters():
    study = params.load(SHIPPED)
    paper = study.model_copy(update={"tier": "paper"})
    ft, sem = paper.budgets("llama2-7b-chat").attack.ft, paper.budgets("llama2-7b-chat").attack.sem
    assert (ft.learning_rate, ft.weight_decay, ft.batch, ft.epochs, ft.schedule) == (2e-5, 0.1, 128, 5, "cosine")
    assert (sem.learning_rate, sem.weight_decay, sem.batch, sem.epochs, sem.warmup_steps) == (1.5e-4, 0.01, 32, 30, 500)
    assert paper.budgets("llama2-7b-chat").attack.seeds == [42, 1234, 20]
    assert paper.budgets("llama2-70b-chat").attack.ft.epochs == 3
    assert paper.budgets("llama2-70b-chat").attack.seeds == [42]
    assert paper.budgets("mistral-7b").customization.learning_rate == 1e-6


def test_a_runs_recipe_overrides_the_tiers():
    study = params.load(SHIPPED)
    assert declared.recipe(study, "smollm2-135m", "layer0-sem").steps == 400
    assert declared.recipe(study, "smollm2-135m", "layers0_3-sem").steps == 200
    paper = study.model_copy(update={"tier": "paper"})
    assert declared.recipe(paper, "phi-2", "layers0_3-sem") == declared.recipe(paper, "phi-2", "layer0-sem")


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("tier", "huge", "tier: unknown name 'huge'; choose one of gpu, paper, small, tiny"),
        ("study.models", ["gpt-9"], "study.models: unknown name 'gpt-9'; choose one of"),
        ("study.attacks", ["melt"], "study.attacks: unknown name 'melt'"),
        (
            "attacks.solid-ft_all.attack",
            "ft_most",
            "attacks.solid-ft_all.attack: unknown name 'ft_most'; choose one of ft_all, ft_closed, ft_closed_linear, l",
        ),
        ("tiers.small.attack.ft.steps", -3, "attack.ft.steps: Input should be greater than or equal to 0, given -3"),
        ("tiers.small.difficulty.samples", 0, "difficulty.samples: Input should be greater than 0, given 0"),
        ("tiers.small.lenght", 3, "lenght: Extra inputs are not permitted"),
        ("threads", "two", "threads: Input should be a valid integer"),
        ("models.tiny.shape", None, "models.tiny: source: random needs a shape"),
        ("models.phi-2.revision", "main", "models.phi-2: revision: 'main' is no commit, and a branch may name other"),
        ("models.phi-2.revision", "ef38235", "models.phi-2: revision: 'ef38235' is no commit"),
        ("models.phi-2.revision", None, "models.phi-2: revision: 'None' is no commit"),
        (
            ["attacks", "layer0-sem", "noise"],
            "fresh",
            "attacks.layer0-sem: noise and repeats are of sap_dp, 'layers 0' answers without noise; leave them out",
        ),
        (["attacks", "sap_dp-ft_all", "repeats"], 4, "attacks.sap_dp-ft_all: repeats: ft_all trains on answers"),
        (
            ["attacks", "layer0-sem", "objective"],
            "logits",
            "attacks.layer0-sem: objective: Extra inputs are not permitted, given 'logits'",
        ),
        (["attacks", "layer0-sem", "after"], "melt", "attacks.layer0-sem.after: unknown name 'melt'"),
        (
            ["attacks", "layer0-sem", "after"],
            "layer0-sem-ft_closed",
            "attacks.layer0-sem.after: goes round in a circle",
        ),
        (["attacks", "layer0-sem", "after"], "layers0_3-sem", "name a trained run with secured: layers 0"),
        (["attacks", "layer0-sem", "after"], "layer0-stitch", "sem cannot go on from 'layer0-stitch'"),
        (
            ["attacks", "solid-ft_closed", "after"],
            "solid-ft_all",
            "attacks.solid-ft_closed.after: ft_closed cannot go on from 'solid-ft_all'; name a trained run with "
            "secured: solid that left the open part alone",
        ),
        (
            ["attacks", "solid-ft_all", "replacement"],
            1,
            "attacks.solid-ft_all: replacement: Extra inputs are not permitted",
        ),
        (
            ["attacks", "layer0-sem", "recipe"],
            {"small": {"method": "lora", "rank": 2, "alpha": 2}},
            "attacks.layer0-sem.recipe: method: lora is ft_all's",
        ),
        (
            ["attacks", "layer0-sem", "recipe"],
            {"small": {"first_weight": 0, "device_tokens": 512}},
            "attacks.layer0-sem.recipe: first_weight: parts of a batch are weighed by their tokens",
        ),
        (
            ["attacks", "solid-ft_all", "recipe"],
            {"small": {"loss": "mse"}},
            "attacks.solid-ft_all.recipe: length, loss and first_weight are sem's, ft_all trains on answers",
        ),
        (
            ["attacks", "layer0-sem", "recipe"],
            {"small": {"loss": None}},
            "attacks.layer0-sem.recipe: sem needs length and loss; give them here or in tiers (attack.sem)",
        ),
        ("tiers.small.attack.ft.method", "lora", "method: lora needs rank and alpha"),
        (["attacks", "layer0-sem", "previous"], 2, "attacks.layer0-sem: previous: Extra inputs are not permitted"),
        (
            ["attacks", "layer0-sem", "start"],
            "public_base",
            "models.smollm2-135m.base: missing, and attacks.layer0-sem starts from public_base; name the section",
        ),
        (
            "tier",
            "paper",
            "tiers.paper.difficulty.samples: 1500 asked, the packaged evaluation set holds 320; ask for fewer, or set "
            "data.source: hub",
        ),
        (
            "tiers.small.attack.validation",
            161,
            "tiers.small.attack.validation: 161 asked, the packaged validation set holds 160; ask for fewer, or set",
        ),
        ("tiers.small.attack.ft.queries", 13_581, "ft.queries: 13581 asked, the packaged attack set holds 13580; ask"),
        (
            ["attacks", "layer0-sem", "recipe"],
            {"small": {"queries": 51_000}},
            "queries of attacks.layer0-sem: 51000 asked, the packaged attack set holds 13580; ask",
        ),
        ("data.source", "hugging", "data.source: Input should be 'packaged' or 'hub', given 'hugging'"),
        ("models.tiny.base", "tini", "models.tiny.base: unknown name 'tini'; choose one of"),
        (
            "tiers.small.attack.ft.learning_rate",
            1e308,
            "attack.ft.learning_rate: Input should be less than or",
        ),
        ("tiers.small.attack.ft.learning_rate", float("nan"), "attack.ft.learning_rate: Input should be"),
        ("tiers.small.attack.sem.warmup", 1.5, "attack.sem.warmup: Input should be less than 1"),
        ("tiers.small.customization.dropout", 1.0, "customization.dropout: Input should be less than 1"),
        ("tiers.small.attack.ft.weight_decay", float("inf"), "attack.ft.weight_decay: Input should be"),
        ("tiers.paper.attack.ft.epochs", float("inf"), "attack.ft.epochs: Input should be"),
        ("tiers.small.attack.seeds", [-1], "attack.seeds.0: Input should be greater than or equal to 0"),
        ("tiers.small.attack.seeds", [42, 42], "attack.seeds: [42, 42]: a seed stands twice"),
        ("threads", 100_000, "threads: Input should be less than or equal to 1024"),
        ("study.models", [], "study.models: List should have at least 1 item"),
        ("study.attacks", ["layer0-sem", "layer0-sem"], "study.attacks: 'layer0-sem' stands twice"),
        (["models", "phi-1.5"], {}, "models.phi-1.5: 'phi-1.5' is no name; write 1 to 60 letters, digits, _ or -"),
        (["attacks", "x;touch y"], {}, "attacks.x;touch y: 'x;touch y' is no name"),
        (["customizations", "a" * 61], {}, "is no name"),
        (["attacks", "layer0-sem", "recipe"], {"smal": {}}, "attacks.layer0-sem.recipe: unknown name 'smal'"),
        ("models.tiny.budget", {"smal": {}}, "models.tiny.budget: unknown name 'smal'; choose one of gpu, paper, s"),
        ("models.phi-2.budget", {"paper": {"lenght": 3}}, "models.phi-2.budget.paper: lenght: Extra inputs"),
        ("models.tiny.parallel", {"semm": {}}, "models.tiny.parallel: unknown name 'semm'"),
        (["attacks", "layer0-sem", "recipe"], {"paper": {"stepz": 1}}, "attacks.layer0-sem.recipe: stepz: Extra"),
        (["attacks", "layer0-sem", "secured"], "sold", "attacks.layer0-sem.secured: secured set 'sold': 'sold': not"),
        (["customizations", "solid-math", "secured"], "layers 3-1", "secured set 'layers 3-1': 'layers 3-1': empty"),
        (["customizations", "solid-math", "domain"], "maths", "customizations.solid-math.domain: unknown name 'maths'"),
        (
            ["customizations", "solid-math", "domain"],
            "finance",
            "customizations.solid-math: domain finance: its training data",
        ),
        ("grid.groups.depth.secured", ["layer 0 w"], "grid.groups.depth.secured.0: secured set 'layer 0 w'"),
        ("grid.groups.depth.attack", "semm", "grid.groups.depth.attack: unknown name 'semm'"),
        ("grid.recipes.ours", {}, "grid.recipes.ours: needs epochs"),
        ("grid.recipes.ours", {"epochs": 1, "lss": "mse"}, "grid.recipes.ours: lss: Extra inputs"),
    ],
)
def test_mistakes_get_one_line_with_the_key(tmp_path, key, value, complaint):
    with pytest.raises(StudyError) as caught:
        declared.load(changed(tmp_path, key, value))
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_the_hubs_sets_hold_what_the_papers_tier_asks(tmp_path):
    hub = changed(tmp_path, "data.source", "hub")
    raw = yaml.safe_load(hub.read_text()) | {"tier": "paper"}
    hub.write_text(yaml.safe_dump(raw))
    study = params.load(hub)
    assert [study.data.holds(name) for name in ("attack", "validation", "evaluation")] == [51_000, 1516, 1516]
    raw["models"]["smollm2-135m"]["budget"] = {"paper": {"attack": {"ft": {"queries": 500_000}}}}  # Table 25
    hub.write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError, match="500000 asked, the hub attack set holds 51000; .* or raise data.hub.attack"):
        params.load(hub)
    raw["data"]["hub"]["attack"] = 500_000
    hub.write_text(yaml.safe_dump(raw))
    assert params.load(hub).data.holds("attack") == 500_000


def test_a_missing_file_gets_one_line(tmp_path):
    with pytest.raises(StudyError, match="missing; run from the top"):
        params.load(tmp_path / "params.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("tier: small\ntier: paper\n")
    with pytest.raises(StudyError, match="key 'tier' stands twice") as caught:
        params.load(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_sections_may_lie_in_configs_but_not_in_two_places(tmp_path):
    raw = reading.read(SHIPPED)
    apart = {"models": raw.pop("models")}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "models.yaml").write_text(yaml.safe_dump(apart))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    assert set(params.load(tmp_path / "params.yaml").models) == set(apart["models"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw | apart))
    with pytest.raises(StudyError, match=r"configs/models.yaml: models: stands in .*params.yaml too; keep one"):
        params.load(tmp_path / "params.yaml")


def test_merge_keys_repeat_a_recipe_once(tmp_path):
    (tmp_path / "a.yaml").write_text("one: &one {rate: 1, steps: 2}\ntwo:\n  <<: *one\n  steps: 3\n")
    assert reading.read_file(tmp_path / "a.yaml")["two"] == {"rate": 1, "steps": 3}


@pytest.mark.parametrize(
    ("flags", "gpu", "takes"), [("avx2", False, None), ("avx2", True, "bfloat16"), ("avx512_bf16", False, "bfloat16")]
)
def test_auto_takes_what_the_machine_is_fast_in(flags, gpu, takes, monkeypatch):
    monkeypatch.setattr(params.machine, "cpu_facts", lambda: {"model name": "a CPU", "flags": flags})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    made = {
        name: params.Model(source="folder", path="mine", weights="float32", autocast=name)
        for name in ("auto", "bfloat16")
    }
    assert made["auto"].products == takes and made["bfloat16"].products == "bfloat16"
    assert made["auto"].dtype == ("float32+bfloat16-autocast" if takes else "float32")
