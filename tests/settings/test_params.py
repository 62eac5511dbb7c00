import copy
from pathlib import Path

import pytest
import yaml

from solid_utils.core.errors import StudyError
from solid_utils.settings import params

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def changed(tmp_path, key, value):
    """The shipped parameters with one key changed."""
    raw = copy.deepcopy(yaml.safe_load(SHIPPED.read_text()))
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
                whole.recipe(model, run)


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
    assert study.recipe("smollm2-135m", "layer0-sem").steps == 400
    assert study.recipe("smollm2-135m", "layers0_3-sem").steps == 200
    paper = study.model_copy(update={"tier": "paper"})
    assert paper.recipe("phi-2", "layers0_3-sem") == paper.recipe("phi-2", "layer0-sem")


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("tier", "huge", "tier: unknown name 'huge'; choose one of paper, small, tiny"),
        ("study.models", ["gpt-9"], "study.models: unknown name 'gpt-9'; choose one of"),
        ("study.attacks", ["melt"], "study.attacks: unknown name 'melt'"),
        (
            "attacks.solid-ft_all.attack",
            "ft_most",
            "attacks.solid-ft_all.attack: Input should be 'ft_all', 'ft_closed', 'sem' or 'stitch'",
        ),
        ("tiers.small.attack.ft.steps", -3, "attack.ft.steps: Input should be greater than or equal to 0, given -3"),
        ("tiers.small.difficulty.samples", 0, "difficulty.samples: Input should be greater than 0, given 0"),
        ("tiers.small.lenght", 3, "lenght: Extra inputs are not permitted"),
        ("threads", "two", "threads: Input should be a valid integer"),
        ("models.tiny.shape", None, "models.tiny: source: random needs a shape"),
        (
            ["attacks", "layer0-sem", "noise"],
            "fresh",
            "attacks.layer0-sem: noise and repeats are of sap_dp, 'layers 0' answers without noise; leave them out",
        ),
        (["attacks", "sap_dp-ft_all", "repeats"], 4, "attacks.sap_dp-ft_all: repeats: ft_all trains on answers"),
        (["attacks", "layer0-sem", "objective"], "logits", "attacks.layer0-sem: objective: sem trains on no answers"),
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
        (["attacks", "solid-ft_all", "replacement"], 1, "replacement: a smaller replacement is trained by attack: sem"),
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
        (["attacks", "layer0-sem", "previous"], 2, "attacks.layer0-sem: previous: sem is no stitch"),
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
    ],
)
def test_mistakes_get_one_line_with_the_key(tmp_path, key, value, complaint):
    with pytest.raises(StudyError) as caught:
        params.load(changed(tmp_path, key, value))
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
