"""What a customer gets wrong is one line."""

from pathlib import Path

import pytest
import yaml

from solid_utils.core.errors import StudyError
from solid_utils.customization import declared, preference
from solid_utils.model import sampling
from solid_utils.settings import params, reading
from tests.customization.runs import problems


def changed(tmp_path, run: dict, tier: str = "tiny", domains: list[str] | None = None) -> params.Params:
    """The shipped settings with one customization of the tiny model."""
    raw = reading.read(Path("params.yaml")) | {"tier": tier}
    raw["study"] = {"models": ["tiny"], "attacks": [], "customizations": ["mine"]}
    raw["customizations"]["mine"] = {"secured": "layers 0", "domain": "math"} | run
    raw["data"]["customization"]["hub"] = domains or []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    return params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("run", "domains", "wrong"),
    [
        ({"domain": "finance"}, [], "customizations.mine: domain finance: its training data come from the hub"),
        ({"domain": "alignment"}, ["alignment"], "lora trains on answers, domain alignment has pairs; choose simpo"),
        (
            {"recipe": {"tiny": {"method": "simpo"}}}, [],
            "customizations.mine: method: simpo trains on pairs, domain math has answers; choose full, lora, qlora",
        ),
        ({"recipe": {"tiny": {"rnak": 3}}}, [], "customizations.mine.recipe.tiny: rnak: Extra inputs"),
        ({"recipe": {"paper": {"method": "lorra"}}}, [], "recipe.paper.method: unknown name 'lorra'"),
        ({"recipe": {"tinny": {}}}, [], "customizations.mine.recipe: unknown name 'tinny'"),
        ({"domain": "chess"}, [], "customizations.mine.domain: unknown name 'chess'"),
        ({}, ["chess"], "data.customization.hub.0: Input should be"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(run, domains, wrong, tmp_path):
    with pytest.raises(StudyError) as error:
        declared.check(changed(tmp_path, run, domains=domains))
    assert wrong in str(error.value) and "\n" not in str(error.value)


def test_a_null_takes_a_key_of_the_tier_back(tmp_path):
    full = {"method": "full", "rank": None, "alpha": None}
    study = changed(tmp_path, {"recipe": {"tiny": full}})
    assert declared.method(study, "tiny", "mine").method == "full"
    declared.check(study)


def test_a_domain_of_the_hub_counts_where_it_is_named(tmp_path):
    assert changed(tmp_path, {"domain": "law"}, domains=["law"]).data.domains == ("math", "law")


@pytest.mark.parametrize("read", [sampling.samples, preference.pairs])
def test_an_empty_set_and_one_of_long_prompts(read, tokenizer):
    for items, wrong in (
        ([], r"mine set: 1 (samples|pairs) asked, 0 of 0 fit 48 tokens"),
        ([one | {"prompt": "x" * 99} for one in problems("mine", 3)], r"mine set: 1 .* asked, 0 of 3 fit 48 tokens"),
    ):
        with pytest.raises(StudyError, match=wrong):
            read("mine", tokenizer, 48, 1, items)


@pytest.mark.parametrize(
    ("section", "group", "wrong"),
    [
        ("customers", {"domains": ["chess"]}, "customers.groups.mine.domains: unknown name 'chess'"),
        ("customers", {"models": ["none"]}, "customers.groups.mine.models: unknown name 'none'"),
        (
            "published_adapters",
            {"domains": [["chess"]]},
            "groups.mine.domains: unknown name 'chess'",
        ),
        ("published_adapters", {"attacks": ["none"]}, "groups.mine.attacks: unknown name 'none'"),
    ],
)
def test_a_cell_that_cannot_run_is_found_before_any_does(section, group, wrong, tmp_path):
    raw = reading.read(Path("params.yaml"))
    first = next(iter(raw[section]["groups"].values()))
    raw[section]["groups"]["mine"] = first | group
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError, match=wrong):
        params.load(tmp_path / "params.yaml")
