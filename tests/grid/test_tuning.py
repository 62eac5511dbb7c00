"""Tries of a customer's recipe: what the rule took of the shipped ones, and what a try measures."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from solid_utils.core import machine, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.grid import tuning
from solid_utils.metrics import recipe_choice
from solid_utils.settings import params
from tests.conftest import byte_llama

SHIPPED = Path("reference/nvidia-h200/customization/smollm2-135m") / paths.TRIES_FILE
AGAIN = Path("reference/amd-epyc-avx512f-avx512-bf16-2-threads/customization/smollm2-135m") / paths.TRIES_FILE


def test_the_shipped_recipes_were_tried_and_one_is_the_rules_choice():
    """`tuned` is not: it was made by counts that were wrong, which that file leaves out."""
    table = schema.read(SHIPPED, schema.TRIES)
    assert list(table[["trained_on", "learning_rate", "steps"]].itertuples(index=False, name=None)) == tuning.TRIES
    assert table["sums_after"].isna().all()
    with pytest.raises(StudyError, match="sums_after is missing; no recipe can be chosen"):
        recipe_choice.chosen(table)
    recipes = params.load().customers.recipes
    for name in ("tuned", "tuned_subjects", "chosen"):
        assert (tuning.DOMAIN, recipes[name]["learning_rate"], recipes[name]["steps"]) in tuning.TRIES
    again = schema.read(AGAIN, schema.TRIES)
    taken = recipe_choice.chosen(again)
    assert (recipes["chosen"]["learning_rate"], recipes["chosen"]["steps"]) == (taken["learning_rate"], taken["steps"])
    keys = ["trained_on", "learning_rate", "steps"]
    both = table.merge(again, on=keys, how="left", suffixes=("", "_again"))
    unseen = both[both["sums_after_again"].isna() & (both["trained_on"] == tuning.DOMAIN)]
    assert (unseen["validation_cross_entropy"] > taken["validation_cross_entropy"]).all(), "whatever it keeps"


def test_settings_without_the_list_are_one_line():
    study = SimpleNamespace(customers=None)
    with pytest.raises(StudyError, match="configs/customization.yaml: missing"):
        tuning.tried("smollm2-135m", study, tuning.DOMAIN, 1e-4, 2)


def test_a_sum_is_right_by_its_first_line_alone(tokenizer, monkeypatch):
    def written(_, prompts, new_tokens, __):
        one, other = (int(part) for part in tokenizer.decode(prompts[0]).split("\n")[-1].rstrip(" =").split(" + "))
        assert new_tokens == tuning.SUM_TOKENS
        said = {2: f" {one + other}\n1", 3: f" {one + other}1", 4: " "}.get(one, f" {one + other}")
        ended = [tokenizer.eos_token_id] if one > 5 else []  # a customized model ends its answer
        return [tokenizer(said, add_special_tokens=False).input_ids + ended]

    monkeypatch.setattr(tuning, "generate", written)
    run = SimpleNamespace(tokenizer=tokenizer, spec=params.load().model("tiny"))
    assert tuning.sums(byte_llama(0), run) == pytest.approx(6 / 8)  # 3 and 4 are wrong, whatever stands beside them


def test_a_row_holds_what_its_try_ended_at(monkeypatch, tmp_path, tokenizer, capsys):
    """The whole of a try but its training, which tests of customers see."""
    victim = byte_llama(0)
    ends = {0.1: 1.5, 0.2: 1.25}

    def tried(model, study, domain, rate, steps):
        history = [{"step": 0, "validation_cross_entropy": 9.0, "validation_exact_match": 0.0}]
        end = {"step": steps, "validation_cross_entropy": ends[rate], "validation_exact_match": 0.5}
        words = SimpleNamespace(words=lambda domain: f"{domain}, {rate}")
        return SimpleNamespace(
            victim=victim, customized=lambda: byte_llama(1), train=lambda: [*history, end], tokenizer=tokenizer,
            revision="0123456789ab", spec=SimpleNamespace(dtype="float32"), recipe=words, sets={"validation": [1] * 3},
            state=SimpleNamespace(discard=lambda: None),
        )  # fmt: skip

    monkeypatch.setattr(tuning, "tried", tried)
    monkeypatch.setattr(tuning, "sums", lambda model, _: 0.5 if model is victim else 0.25)
    monkeypatch.setattr(tuning, "distance", lambda model, run: 0.75)
    monkeypatch.setattr(tuning, "TRIES", [("reasoning", 0.1, 3), ("code", 0.2, 4)])
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr("sys.argv", ["tuning", "m"])
    tuning.main()
    threads = params.load().threads
    path = tmp_path / machine.slug(machine.describe(threads)) / "customization" / "m" / paths.TRIES_FILE
    table = schema.read(path, schema.TRIES).set_index("trained_on")
    assert table["validation_cross_entropy"].to_dict() == {"reasoning": 1.5, "code": 1.25}
    assert (table["sums_before"] == 0.5).all() and (table["sums_after"] == 0.25).all() and (table["kl"] == 0.75).all()
    assert (table["n"] == 3).all() and table["steps"].tolist() == [3, 4] and "50% -> 25%" in capsys.readouterr().out
