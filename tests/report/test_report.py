"""Tables, verdicts and figures from made-up results: numbers worked out by hand, and parts that are missing."""

import dataclasses
import errno
import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from solid_utils.core import files, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.metrics import power
from solid_utils.paper import audit, registry, said
from solid_utils.report import catalogue, evidence, paper_tables, picture, ratios, report, results, terminal, verdicts
from solid_utils.report.catalogue import TABLES
from solid_utils.report.evidence import CONTRADICTED, NOT_TESTED, SUPPORTED
from solid_utils.report.report import Report
from tests.synthetic import ATTACKS, BENCHMARKS, COUNTED, CUSTOMIZATIONS, write_study

PAPER_STEPS = 40_000  # x 8 samples is more than the paper's 51,000 x 5


@pytest.fixture(scope="module", autouse=True)
def few_of_the_papers() -> Iterator[None]:
    """Of the paper's figures and tables one each: all take 15 s a build; test_figures_paper and test_paper_tables."""
    from solid_utils.report import figures

    items = {"table_23": registry.load()["table_23"]}
    few = {name: one for name, one in figures.FIGURES.items() if one.folder != "paper/" or name == "figure_6"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "FIGURES", few)
        patched.setattr(paper_tables.registry, "load", lambda: items)
        patched.setattr(audit, "POINTS", {2: audit.POINTS[2]})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def study(folder) -> Report:
    return Report(folder)


@pytest.fixture(scope="module")
def built(study, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built")
    study.write(out)
    return out


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are plotted, and their pixels, half of the work, are left out: test_two_builds renders all."""
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"no pixels"))


def row(table: pd.DataFrame, **wanted) -> pd.Series:
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def verdict(found: Report, key: str) -> tuple[str, str]:
    claim = row(found.tables["claims"], key=key)
    return claim["verdict"], claim["we_measured"]


def test_a_benchmark_counts_only_above_two_standard_errors(study):
    rule = ratios.benchmark_rule(study.results).set_index("benchmark")
    assert rule["counts"].to_dict() == {name: name in COUNTED for name in BENCHMARKS}
    assert rule.loc["truthfulqa", "reason"] == "victim 0.270, floor 0.200 (chance 0.200), two standard errors 0.080"
    assert rule.loc["sums", "reason"] == ""


def test_attack_row(study):
    found = row(study.tables["attacks"], run="layer0-sem")
    assert (found["agreement_start"], found["agreement"]) == (0.02, 0.80)
    assert found["recovered_share"] == pytest.approx(0.78 / 0.98)
    assert (found["secured"], found["share"], found["view"]) == ("layers 0", 0.1, "token ids and boundary states")
    assert (found["steps"], found["samples"], found["queries"], found["benchmarks"]) == (400, 6400, 6400, 2)
    assert (found["kl"], found["cross_entropy"]) == (pytest.approx(1.0), pytest.approx(3.0))
    # hellaswag 0.25 + 0.8 x 0.20 = 0.41 of 0.45, sums 0.64 of 0.80; the two without signal would change both
    assert found["adr_mean_of_ratios"] == pytest.approx((0.41 / 0.45 + 0.8) / 2)
    assert found["adr_ratio_of_means"] == pytest.approx((0.41 + 0.64) / (0.45 + 0.80))
    assert found["chance_corrected_ratio"] == pytest.approx(0.8)
    assert found["chance_corrected_start"] == pytest.approx(0)


def test_victim_and_guessing_stand_beside_the_runs(study):
    attacks = study.tables["attacks"]
    assert list(attacks["run"]) == ["victim", "guessing", *ATTACKS]
    assert row(attacks, run="victim")["chance_corrected_ratio"] == pytest.approx(1)
    guessing = row(attacks, run="guessing")
    assert guessing["chance_corrected_ratio"] == pytest.approx(0)
    assert guessing["adr_mean_of_ratios"] == pytest.approx((0.25 / 0.45 + 0) / 2)


def test_intervals_stand_beside_the_headline_numbers(study):
    found = row(study.tables["attacks"], run="layer0-sem")
    for name in ("recovered_share", "adr_mean_of_ratios", "adr_ratio_of_means", "delta_adr", "chance_corrected_ratio"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"], name
    assert found["interval_covers"] == "items only"
    # 20 samples of 25 tokens: 16 agree whole, so the share has the standard error sqrt(0.8 x 0.2 / 20) = 0.09
    assert found["recovered_share_high"] - found["recovered_share_low"] == pytest.approx(4 * 0.09, abs=0.05)
    shown = TABLES["attacks"].compact(study.tables["attacks"]).set_index("run")
    assert re.fullmatch(r"79\.6 \[6\d\.\d, 9\d\.\d\]", shown.loc["layer0-sem", "recov. %"])
    assert shown.loc["guessing", "corr. %"] == "0.0"
    hidden = row(study.tables["attacks"], run="fully_secured-ft_all")
    assert (hidden["delta_adr"], hidden["delta_adr_low"], hidden["delta_adr_high"]) == (0, 0, 0)
    assert found["delta_adr"] == pytest.approx(found["adr_mean_of_ratios"] - hidden["adr_mean_of_ratios"])


def test_intervals_of_several_seeds_say_so(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "results")
    run = tmp_path / "results/runs/toy/attacks/layer0-sem"
    for name, columns in (("scores", schema.SCORES), ("items", schema.ITEMS)):
        one = schema.read(run / f"{name}.csv", columns)
        schema.write(pd.concat([one, one.assign(seed=7)]), columns, run / f"{name}.csv")
    found = Report(tmp_path / "results")
    assert row(found.tables["attacks"], run="layer0-sem")["interval_covers"] == "items and 2 seeds"
    assert "items only or items and 2 seeds" in TABLES["attacks"].sentence(found.tables["attacks"])


def test_without_items_there_are_estimates_and_no_intervals(folder, tmp_path, unrendered):
    shutil.copytree(folder, tmp_path / "results")
    run = tmp_path / "results/runs/toy/attacks/layer0-sem"
    (run / "items.csv").unlink()
    found = Report(tmp_path / "results")
    assert found.missing == ["toy: no items.csv beside the scores of layer0-sem; no intervals there"]
    attack = row(found.tables["attacks"], run="layer0-sem")
    assert attack["chance_corrected_ratio"] == pytest.approx(0.8) and attack["interval_covers"] == ""
    assert pd.isna(attack[["chance_corrected_ratio_low", "recovered_share_high", "delta_adr_low"]]).all()
    assert TABLES["attacks"].compact(found.tables["attacks"]).set_index("run").loc["layer0-sem", "corr. %"] == "80.0"
    (tmp_path / "results/runs/toy/victim/items.csv").unlink()
    ratios_without = Report(tmp_path / "results").tables["attacks"].dropna(subset="recovered_share_low")
    assert ratios_without["adr_mean_of_ratios_low"].isna().all(), "a ratio needs the victim's items too"
    for path in (tmp_path / "results").rglob("items.csv"):
        path.unlink()
    nothing = Report(tmp_path / "results")
    assert nothing.missing == ["toy: no items.csv beside any scores; no intervals there"]
    assert "In brackets" not in catalogue.printed(nothing.tables)
    nothing.write(tmp_path / "out")


def test_items_that_do_not_give_their_score_are_left_out(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "results")
    path = tmp_path / "results/runs/toy/attacks/layer0-sem/items.csv"
    items = schema.read(path, schema.ITEMS)
    items.loc[(items["benchmark"] == "sums") & (items["steps"] > 0) & (items["item"] == "0"), "value"] = 0
    schema.write(items, schema.ITEMS, path)
    found = Report(tmp_path / "results")
    assert found.missing == ["toy: the items of layer0-sem, sums, do not give its score; no intervals there"]
    attack = row(found.tables["attacks"], run="layer0-sem")
    assert pd.isna(attack["adr_mean_of_ratios_low"]) and attack["recovered_share_low"] > 0.5


def test_floor_is_what_a_constant_answer_scores_and_a_random_model_stands_beside_it(study):
    scores = study.results.attacks
    hidden = (scores["deployment"] == "fully_secured") & (scores["steps"] == 0)
    lucky = scores["value"].mask(hidden & (scores["benchmark"] == "hellaswag"), 0.44)
    victims = study.results.victims
    constant = victims["floor"].astype(float).mask(victims["benchmark"] == "sums", 0.08)
    constant = constant.mask(victims["benchmark"] == "hellaswag", 0.31)
    changed = dataclasses.replace(
        study.results, attacks=scores.assign(value=lucky), victims=victims.assign(floor=constant)
    )
    rule = ratios.benchmark_rule(changed).set_index("benchmark")
    assert rule["floor"].to_dict() == {"hellaswag": 0.31, "sums": 0.08, "mmlu": 0.25, "truthfulqa": 0.2}
    assert rule.loc["hellaswag", "random"] == 0.44
    floor = row(catalogue.make(changed)["attacks"], run="floor")
    assert floor["adr_mean_of_ratios"] == pytest.approx((0.31 / 0.45 + 0.08 / 0.80) / 2)
    assert floor["chance_corrected_ratio"] == pytest.approx(0)
    guessing = row(catalogue.make(changed)["attacks"], run="guessing")
    assert guessing["chance_corrected_ratio"] == pytest.approx(-(0.06 + 0.08) / (0.45 - 0.31 + 0.80 - 0.08))
    assert "floor" not in set(study.tables["attacks"]["run"]), "here nothing scores above chance"


def test_always_yes_recovers_nothing_and_a_victim_at_the_floor_does_not_count(study):
    """BoolQ's case: chance 0.25, the best constant answer 0.36 or 0.40, the victim 0.45 with an error of 0.04."""
    victims = study.results.victims
    for constant, counts in ((0.36, True), (0.40, False)):
        here = victims["benchmark"] == "hellaswag"
        known = victims.assign(floor=victims["floor"].astype(float).mask(here, constant))
        known["stderr"] = known["stderr"].mask(here, 0.04)
        attacks = study.results.attacks
        said = attacks.assign(value=attacks["value"].mask(attacks["benchmark"] == "hellaswag", constant))
        changed = dataclasses.replace(study.results, attacks=said, victims=known)
        assert ratios.benchmark_rule(changed).set_index("benchmark").loc["hellaswag", "counts"] == counts
        if counts:
            table = catalogue.make(changed)["ratios"]
            assert row(table, run="layer0-sem", benchmark="hellaswag")["chance_corrected_ratio"] == pytest.approx(0)


def test_a_score_without_a_standard_error_counts_by_the_largest_it_can_have(study):
    """hellaswag 0.45 of 100 items: at most sqrt(0.45 x 0.55 / 99) = 0.05; of 20 items 0.114, so 0.2 is not enough."""
    for n, counts in ((100, True), (20, False), (1, False)):
        victims = study.results.victims
        here = victims["benchmark"] == "hellaswag"
        blank = victims.assign(stderr=victims["stderr"].mask(here), n=victims["n"].mask(here, n))
        rule = ratios.benchmark_rule(dataclasses.replace(study.results, victims=blank)).set_index("benchmark")
        assert rule.loc["hellaswag", "counts"] == counts
    assert rule.loc["hellaswag", "reason"].endswith("standard error unknown")


def test_ratios_by_domain_and_by_benchmark(study):
    table = study.tables["ratios"]
    assert len(table) == len(ATTACKS) * 4  # Rsn and Math, with one benchmark each; Gen has none that counts
    single = row(table, run="layer0-sem", benchmark="hellaswag")
    assert single["adr_mean_of_ratios"] == pytest.approx(0.41 / 0.45)
    assert single["adr_mean_of_ratios_low"] < 0.41 / 0.45 < single["adr_mean_of_ratios_high"]
    domain = row(table, run="layer0-sem", domain="Math", benchmark="all")
    assert domain["chance_corrected_ratio"] == pytest.approx(0.8)
    attack = row(study.tables["attacks"], run="layer0-sem")
    assert attack["adr_domains_mean_of_ratios"] == pytest.approx((0.41 / 0.45 + 0.8) / 2)


def test_fidelity_on_several_sets_is_pooled_by_tokens(study):
    scores = study.results.attacks
    scores = scores[~scores["benchmark"].isin(["evaluation_c4", "evaluation_code"])]
    other = scores[(scores["domain"] == "fidelity") & (scores["run"] == "layer0-sem")].assign(benchmark="c4")
    other["value"], other["n"] = other["value"] / 2, other["n"] * 3
    greedy = other[other["metric"] == "agreement"].assign(metric="greedy_match")
    attacks = pd.concat([scores, other, greedy], ignore_index=True)
    found = catalogue.make(dataclasses.replace(study.results, attacks=attacks))
    table = found["fidelity"][found["fidelity"]["run"] == "layer0-sem"].set_index("prompts")
    assert list(table.index) == ["evaluation", "c4", "all"]
    assert table["tokens"].tolist() == [500, 1500, 2000]
    assert table["agreement"].tolist() == pytest.approx([0.8, 0.4, 0.5])
    assert table.loc["all", "recovered_share"] == pytest.approx((0.5 - 0.0125) / (1 - 0.0125))
    assert table["agreement_low"].notna().tolist() == [True, False, False], "c4 has no items"
    assert row(found["attacks"], run="layer0-sem")["agreement"] == 0.80, "the headline is on the attack's prompts"
    said = TABLES["fidelity"].compact(found["fidelity"], printed=True).set_index("run")
    assert said.loc["layer0-sem"].tolist()[:3] == ["80.0", "40.0", "50.0"]
    assert said.loc["layers0_3-sem"].tolist()[:3] == ["20.0", "", ""]
    assert said.loc["layer0-sem", "same greedy answer, c4 %"] == "40.0" and len(said.columns) == 4, "where it was taken"


def test_share_of_a_set_that_is_no_prefix(study):
    assert row(study.tables["attacks"], run="layers0_3-sem")["share"] == pytest.approx(0.4)
    assert row(study.tables["attacks"], run="darknetz-ft_all")["share"] == pytest.approx(0.1)
    assert row(study.tables["attacks"], run="fully_secured-ft_all")["share"] == 1


def test_seeds_are_averaged_and_their_spread_enters_the_error(study):
    one = study.results.attacks[study.results.attacks["run"] == "solid-ft_all"]
    other = one.assign(seed=7, value=one["value"] + 0.02)
    found = ratios.outcomes(pd.concat([one, other]))
    agreement = row(found, state="end", metric="agreement", benchmark="evaluation")
    assert agreement["value"] == pytest.approx(0.08)
    # items 0.01, shared by the seeds; the mean of 0.07 and 0.09 has the standard error 0.01
    assert agreement["stderr"] == pytest.approx(0.01 * 2**0.5)
    assert agreement["seeds"] == 2


def test_a_run_that_lacks_a_benchmark_that_counts_is_refused(study):
    attacks = study.results.attacks
    lacking = attacks[(attacks["benchmark"] != "sums") | (attacks["run"] != "layer0-sem")]
    with pytest.raises(StudyError, match="sums not scored on both sides"):
        catalogue.make(dataclasses.replace(study.results, attacks=lacking))["attacks"]


def test_difficulty_table_marks_the_solid_set(study):
    table = study.tables["difficulty"]
    assert list(table[table["is_solid"]]["secured"]) == ["layers 0"]
    prefix = row(table, kind="prefix", secured="layers 0-1")
    assert (prefix["victim"], prefix["ceiling"], prefix["seeds"]) == (1.77, 10.9, 2)
    assert prefix["share_of_ceiling"] == pytest.approx(11.5 / 10.9)
    assert list(table[table["kind"] == "single"]["secured"]) == [f"layers {layer}" for layer in range(6)]


def test_ratings_are_not_pooled_with_accuracies(study):
    """MT-Bench's stand in points from 1 to 10, beside the problems that were solved or not."""
    scores = study.results.customizations
    rated = scores[scores["benchmark"] == "words"].assign(benchmark="MT-Bench", metric="rating", value=7.0)
    changed = dataclasses.replace(study.results, customizations=pd.concat([scores, rated], ignore_index=True))
    table, usual = catalogue.make(changed)["customization"], study.tables["customization"]
    same = table[(table["metric"] != "rating")].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, usual, check_dtype=False)
    assert row(table, run="solid-math", benchmark="all", metric="rating")["after"] == 7


def _solved_by_one(study) -> float:
    """Share of the problems that solid or the fully open model solved at the end, and not both."""
    items = study.results.items
    items = items[items["run"].isin(["solid-math", "fully_open-math"]) & (items["steps"] > 0)]
    problems = items[items["benchmark"].isin(["chain_sum", "words"])]
    return float((problems.groupby(["benchmark", "item"])["value"].sum() == 1).mean())


def test_customization_table_pools_problems_and_compares_with_fully_open(study):
    found = row(study.tables["customization"], run="solid-math", benchmark="all")
    assert (found["n"], found["before"], found["after"]) == (100, pytest.approx(0.15), pytest.approx(0.58))
    assert found["gain"] == pytest.approx(0.43)
    assert found["gap_to_fully_open"] == pytest.approx(-0.02)
    assert found["stderr"] == pytest.approx(0.02 / 2**0.5)
    assert found["gap_stderr"] == pytest.approx(0.02)
    assert -0.08 < found["gap_to_fully_open_low"] < -0.02 < found["gap_to_fully_open_high"] <= 0
    assert found["after_low"] < 0.58 < found["after_high"] and found["run_open"] == "fully_open-math"
    assert "ends -2.0 [-5.0, +0.0] points" in TABLES["customization"].sentence(study.tables["customization"])
    assert f"({found['n']} problems show a gap of" in TABLES["customization"].sentence(study.tables["customization"])
    assert found["detectable"] == pytest.approx(power.detectable(found["n"], _solved_by_one(study)))
    opened = row(study.tables["customization"], run="fully_open-math", benchmark="all")
    assert pd.isna(opened["gap_to_fully_open"])


def test_a_gap_is_taken_against_the_fully_open_run_of_the_same_problems(tmp_path):
    other = {"fully_open-law": ("fully_open", "none", {"cases": (0.2, 0.5)})}
    found = Report(write_study(tmp_path, customizations=CUSTOMIZATIONS | other))
    table = found.tables["customization"]
    assert len(table) == 3 + 3 + 2
    assert row(table, run="solid-math", benchmark="all")["gap_to_fully_open"] == pytest.approx(-0.02)


def test_queries_are_told_in_sequences_tokens_and_numbers(study):
    asked = row(study.tables["queries"], attack="sem", queries=6400)  # 400 steps of 16, 100 tokens each
    assert (asked["tokens"], asked["numbers"], asked["brought"], asked["runs"]) == (640_000, 576, 640_000 * 576, 1)
    assert set(study.tables["queries"]["queries"]) == {240, 3200, 6400}, "what asked nothing is left out"
    said = catalogue.TABLES["queries"].sentence(study.tables["queries"])
    assert said == "toy: 240 queries of ft_all are 24,000 tokens of 1 numbers each, 24k in all."


def test_every_claim_has_a_rule_and_the_budget_is_named(study):
    claims = study.tables["claims"]
    assert list(claims["key"]) == [claim.key for claim in said.CLAIMS] == list(claims["key"].unique())
    assert set(claims["verdict"]) == {SUPPORTED, CONTRADICTED, NOT_TESTED}
    assert claims["rule"].str.len().min() > 40
    # 30 x 8 of 255,000 and 400 x 16 of 1,530,000 samples
    assert "ft_all 30 steps, 1 seed(s), 0.094 %" in claims["budget"].iloc[0]
    assert "sem 200 to 400 steps, 1 seed(s), 0.42 %" in claims["budget"].iloc[0]


def altered(folder: Path, run: str, **changes) -> Report:
    """The study with one attack run altered."""
    names = ("deployment", "secured", "attack", "batch", "steps", "before", "after", "kept")
    attack = dict(zip(names, ATTACKS[run], strict=True)) | changes
    return Report(write_study(folder, attacks=ATTACKS | {run: tuple(attack.values())}, items=False))


def test_sem_verdict(study, tmp_path):
    found, measured = verdict(study, "sem_at_chance")
    assert found == CONTRADICTED
    assert "2.0 % -> 80.0 %, 79.6 % [60.0, 95.0] recovered, chance-corrected ratio 80.0 % [71.7, 87.5]" in measured
    # (0.80 - 0.10) / 0.90
    assert "agrees on 80.0 % of its own kind, 80.0 % of other texts (floor there 10.0 %, above it 77.8 %)" in measured
    assert row(study.tables["claims"], key="sem_at_chance")["cells"] == "layer0-sem"
    narrow = altered(tmp_path / "narrow", "layer0-sem", kept=0.24)  # a copy on the attack's prompts, not elsewhere
    assert verdict(narrow, "sem_at_chance")[0] == NOT_TESTED
    assert "disagree" in verdict(narrow, "sem_at_chance")[1]
    low = altered(tmp_path / "low", "layer0-sem", after=0.32, kept=0.24)  # (0.32 - 0.10) / 0.90 = 24.4 %
    assert verdict(low, "sem_at_chance")[0] == NOT_TESTED
    assert "no proof of security" in verdict(low, "sem_at_chance")[1]
    high = altered(tmp_path / "high", "layer0-sem", after=0.33, kept=0.26)  # 25.6 %
    assert verdict(high, "sem_at_chance")[0] == CONTRADICTED
    long = altered(tmp_path / "long", "layer0-sem", after=0.32, kept=0.24, steps=100_000)  # x 16 > 51,000 x 30
    assert verdict(long, "sem_at_chance")[0] == SUPPORTED
    assert "no proof" not in verdict(long, "sem_at_chance")[1]


def test_solid_is_judged_by_the_strongest_attack_on_its_layers(study, tmp_path):
    found, measured = verdict(study, "solid_security")
    assert found == CONTRADICTED and measured.startswith("strongest of each kind: sem on layers 0 with")
    weak = altered(tmp_path / "weak", "layer0-sem", after=0.03)
    found, measured = verdict(weak, "solid_security")
    assert found == NOT_TESTED and measured.startswith("strongest of each kind: ft_all on layers 0 with")
    assert "a low score here is no proof of security" in measured
    elsewhere = altered(tmp_path / "elsewhere", "layer0-sem", secured="layers 1")
    assert verdict(elsewhere, "solid_security")[0] == NOT_TESTED


def test_solid_of_two_layers_is_judged_by_attacks_on_two_layers(tmp_path):
    pair = ATTACKS | {"pair-sem": ("layers 0-1", "layers 0-1", "sem", 16, 400, 0.0, 0.5, 0.5)}
    found = Report(write_study(tmp_path, prefix=(6.0, 11.0, 11.0, 11.0, 11.0, 11.0), attacks=pair, items=False))
    assert "sem on layers 0-1 with 6400 queries, 400 steps" in verdict(found, "sem_at_chance")[1]
    assert verdict(found, "solid_layers")[0] == SUPPORTED


def test_darknetz_verdict(study, tmp_path):
    assert verdict(study, "darknetz")[0] == SUPPORTED
    weak = altered(tmp_path / "weak", "darknetz-ft_all", kept=0.4)
    assert verdict(weak, "darknetz")[0] == NOT_TESTED
    strong = altered(tmp_path / "strong", "darknetz-ft_all", kept=0.4, steps=PAPER_STEPS)
    assert verdict(strong, "darknetz")[0] == CONTRADICTED


def test_placement_verdict(study, tmp_path):
    assert verdict(study, "placement")[0] == SUPPORTED
    near = altered(tmp_path / "near", "darknetz-ft_all", after=0.10)  # 0.03 from solid; three errors are 0.042
    assert verdict(near, "placement")[0] == NOT_TESTED
    longer = altered(tmp_path / "longer", "darknetz-ft_all", steps=60)
    assert verdict(longer, "placement")[0] == NOT_TESTED


@pytest.mark.parametrize(
    "solid, expected",
    [
        ({"chain_sum": (0.30, 0.86), "words": (0.0, 0.27)}, NOT_TESTED),  # 3.5 points below, on 100 problems
        ({"chain_sum": (0.30, 0.85), "words": (0.0, 0.25)}, NOT_TESTED),  # 5 points below: 1 past the margin, error 2
        ({"chain_sum": (0.30, 0.70), "words": (0.0, 0.20)}, CONTRADICTED),  # 15 points below
    ],
)
def test_customization_verdict(tmp_path, solid, expected):
    runs = CUSTOMIZATIONS | {"solid-math": ("solid", "layers 0", solid)}
    assert (
        verdict(Report(write_study(tmp_path, customizations=runs, items=False)), "solid_customization")[0] == expected
    )


def test_customization_verdict_needs_a_gain_of_the_fully_open_model(tmp_path):
    still = {"chain_sum": (0.30, 0.31), "words": (0.0, 0.0)}
    runs = {name: (deployment, secured, still) for name, (deployment, secured, _) in CUSTOMIZATIONS.items()}
    found, measured = verdict(Report(write_study(tmp_path, customizations=runs, items=False)), "solid_customization")
    assert found == NOT_TESTED and "gained too little" in measured


def test_layers_and_epsilon_verdicts(study, tmp_path):
    assert verdict(study, "solid_layers") == (
        SUPPORTED,
        "start xavier: l* = 1, DD 11.00 against 10.36; start normal_0.02: l* = 1, DD 11.10 against 10.45.",
    )
    # DD of the first layer, 11.0, is above the ceiling, 10.9: no tolerance can matter.
    found, measured = verdict(study, "epsilon")
    assert found == NOT_TESTED and "Epsilon is empty here: DD of layers 0 is 11.00, above the ceiling" in measured
    below = Report(write_study(tmp_path / "below", prefix=(10.8, 10.8, 10.8, 10.8, 10.8, 10.8), items=False))
    assert verdict(below, "epsilon")[0] == SUPPORTED
    late = Report(write_study(tmp_path, prefix=(6.0, 8.0, 10.0, 10.5, 10.6, 10.7), items=False))
    assert verdict(late, "solid_layers")[0] == CONTRADICTED
    found, measured = verdict(late, "epsilon")
    assert found == NOT_TESTED and "0.05: 4, 0.1: 3, 0.2: 3, 0.3: 2, 0.5: 1" in measured


def test_few_sets_are_no_correlation(study, tmp_path):
    assert verdict(study, "difficulty_predicts")[0] == NOT_TESTED
    singles = {
        f"layer{layer}-ft_all": ("x", f"layers {layer}", "ft_all", 8, 30, 0.1, after, 0.0)
        for layer, after in enumerate((0.10, 0.3, 0.4, 0.6, 0.9, 0.5))
    }
    prefixes = {f"two{n}": ("x", f"layers 0-{n}", "ft_all", 8, 30, 0.1, 0.10, 0.0) for n in (1, 2)}
    many = Report(write_study(tmp_path / "many", attacks=singles | prefixes, items=False))
    found, measured = verdict(many, "difficulty_predicts")
    assert found == SUPPORTED
    assert measured.startswith(
        "ft_all, 240 queries, one seed, 8 sets, Spearman on texts apart: DD with the final agreement -0.98 "
        "[-1.00, -0.81], with the final KL 0.98 [0.81, 1.00] (own kind -0.98, 0.98); with the final agreement depth"
    )
    assert row(many.tables["claims"], key="difficulty_predicts")["cells"].count(",") == 7
    # The other way round: the more difficult, the more is recovered.
    turned = {name: (*attack[:6], 1 - attack[6], 0.0) for name, attack in (singles | prefixes).items()}
    assert verdict(Report(write_study(tmp_path / "turned", attacks=turned, items=False)), "difficulty_predicts")[0] == (
        CONTRADICTED
    )


def test_the_tiny_tier_decides_nothing(tmp_path):
    tiny = Report(write_study(tmp_path, tier="tiny", items=False))
    assert set(tiny.tables["claims"]["verdict"]) == {NOT_TESTED}


def test_two_builds_are_byte_identical_and_leave_nothing_stale(built, folder, tmp_path):
    for name in (
        "figures/gone-agreement.png",
        "figures/paper/gone-figure_6.svg",
        "pages/gone.html",
        "pages/csv/gone.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"of an earlier build")
    Report(folder).write(tmp_path)
    files = sorted(path.relative_to(built) for path in built.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len([path for path in files if path.suffix == ".png"]) == 10 + 3, (
        "two across victims, and one of the paper's"
    )
    assert {Path("figures/paper/toy-figure_6.png"), Path("figures/toy-agreement.svg")} <= set(files)
    assert {path.name for path in files} >= {"report.html", "metrics.json", "claims.csv", "attacks.csv"}
    for path in files:
        assert (built / path).read_bytes() == (tmp_path / path).read_bytes(), path


def test_the_pages_say_everything(built):
    pages = [path.read_text() for path in [built / "report.html", *sorted((built / "pages").glob("*.html"))]]
    text = html.unescape("".join(pages))
    shown = {place for page in pages for place in re.findall(r'src="[./]*figures/([^"]+)"', page)}
    assert len(shown) == 10 + 3, "two across victims, and one of the paper's"
    assert all(len(path.read_bytes()) <= picture.LARGEST for path in built.rglob("*.svg"))
    assert not re.search(r"\b20\d\d-\d\d|[{][{%#]|[%#}][}]", text)  # no date, no field left unfilled
    for words in (ratios.SIGNAL_RULE, "truthfulqa*", CONTRADICTED, "Made on: cpu"):
        assert words in text


def test_a_figure_that_was_shown_is_not_drawn_again(study, monkeypatch):
    shown = study.pictures("agreement")
    monkeypatch.setattr("solid_utils.report.figures.picture", lambda *_: pytest.fail("drawn again"))
    assert shown and study.pictures("agreement") == shown


def test_metrics_are_flat_and_headline(study):
    found = study.metrics()
    assert found["toy/layer0-sem/recovered_share"] == pytest.approx(0.795918)
    assert found["toy/xavier/l_star"] == 1
    assert "toy/victim/agreement" not in found
    assert found["toy/solid-math/gap_to_fully_open"] == -0.02
    assert found["toy/layer0-sem/recovered_share_low"] < 0.7959 < found["toy/layer0-sem/recovered_share_high"]
    assert all(isinstance(value, float) for value in found.values())
    assert json.loads(json.dumps(found, allow_nan=False)) == found


PARTS = ["victim", "dd", "scan", "attacks", "customizations"]


@pytest.mark.parametrize("gone", [[part] for part in PARTS] + [PARTS[1:], PARTS[:-1]])
def test_missing_parts_are_named_and_the_rest_is_made(folder, tmp_path, gone, unrendered):
    shutil.copytree(folder, tmp_path / "results")
    for part in gone:
        shutil.rmtree(tmp_path / "results" / "runs" / "toy" / part)
    found = Report(tmp_path / "results")
    page = " ".join(html.unescape(found.write(tmp_path / "out").read_text()).split())
    assert all(any(part in line for line in found.missing) for part in gone)
    assert all(line in page for line in found.missing)
    assert not any("\n" in line for line in found.missing)
    catalogue.printed(found.tables)


def test_two_models_get_a_figure_each_and_a_column(folder, tmp_path, unrendered):
    shutil.copytree(folder, tmp_path / "results")
    write_study(tmp_path / "results", model="other", attacks={"solid-ft_all": ATTACKS["solid-ft_all"]})
    found = Report(tmp_path / "results")
    found.write(tmp_path / "out")
    assert len(list((tmp_path / "out" / "figures").glob("other-*.png"))) == 10
    assert "model" in TABLES["attacks"].compact(found.tables["attacks"]).columns
    assert len(found.tables["claims"]) == 2 * len(said.CLAIMS)


def test_the_printed_tables_fit_a_terminal(study):
    assert max(map(len, catalogue.printed(study.tables).splitlines())) <= terminal.WIDTH


@pytest.mark.parametrize("folder", sorted(path.parent for path in paths.REFERENCE.glob("*/tables")), ids=str)
def test_the_shipped_tables_fit_a_terminal(folder):
    """Whole: a benchmark that has no room beside the others stands below them."""
    benchmarks = pd.read_csv(folder / "tables" / "benchmarks.csv")
    text = terminal.fitted(TABLES["benchmarks"].compact(benchmarks, printed=True))
    assert max(map(len, text.splitlines())) <= terminal.WIDTH
    assert all(text.count(name) == 1 for name in benchmarks["benchmark"].unique())
    assert text.count("layer0-sem") == text.count("floor") == len(text.split("\n\n"))


def test_printing_from_a_build_equals_printing_after_it(study, built):
    assert catalogue.printed(report.read_built(built)) == catalogue.printed(study.tables)


def test_command_line_takes_results_else_reference(study, folder, tmp_path, monkeypatch, capsys):
    shutil.copy("params.yaml", tmp_path)
    shutil.copytree("configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Report, "pictures", lambda *_: [])  # three builds; test_two_builds draws all
    monkeypatch.setattr(catalogue, "make", lambda *_: study.tables)
    monkeypatch.setattr("sys.argv", ["report"])
    with pytest.raises(StudyError, match="run `make study` first"):
        report.main()
    shutil.copytree(folder, tmp_path / "reference" / "box")
    (tmp_path / "reference" / "box" / "machine.json").write_text('{"cpu": "Abacus 3000", "units": "", "threads": "1"}')
    report.main()
    assert "from reference/box/, report: build/report/report.html" in capsys.readouterr().out
    assert "Abacus 3000" in Path("build/report/report.html").read_text()
    shutil.copytree(folder, tmp_path / "results")
    report.main()
    assert "report: results/report.html" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["report", "reference/box"])
    report.main()
    assert "from reference/box/, report: build/report/report.html" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["report", "--print"])
    report.main()
    assert "recov. %" in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_error_while_writing_leaves_the_older_report(error, study, tmp_path, monkeypatch):
    for name in ("tables/attacks.csv", "tables/stale.csv", "figures/stale.png", "metrics.json", "report.html", "mine"):
        files.write_text("old", tmp_path / name)
    before = sorted((path, path.read_text()) for path in tmp_path.rglob("*") if path.is_file())

    def ends(*_, **__):
        raise error

    monkeypatch.setattr(Report, "pictures", lambda *_: [])
    with monkeypatch.context() as patched, pytest.raises((StudyError, KeyboardInterrupt)):
        patched.setattr(Report, "pages", ends)  # what is made last
        study.write(tmp_path)
    assert sorted((path, path.read_text()) for path in tmp_path.rglob("*") if path.is_file()) == before
    monkeypatch.setattr(Report, "pages", lambda *_: {"report.html": "new"})
    study.write(tmp_path)
    assert (tmp_path / "report.html").read_text() == "new" and (tmp_path / "mine").read_text() == "old"
    assert not list(tmp_path.rglob("*stale*")) and not list(tmp_path.glob("*partial*"))


def test_no_results_is_one_line(tmp_path):
    with pytest.raises(StudyError, match="no results there") as error:
        results.load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_notebook_shows_every_section_once_and_calls_only_what_exists():
    """By section, so that a new table or figure needs no cell."""
    notebook = nbformat.read("notebooks/05_tables.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert re.findall(r'study\.section\("(\w+)"\)', code) == list(catalogue.SECTIONS)
    assert set(re.findall(r'study\.table\("(\w+)"\)', code)) <= set(catalogue.SHOWN)
    from solid_utils.report import figures

    assert set(re.findall(r'study\.figure\("(\w+)"\)', code)) <= set(figures.FIGURES)
    assert all(name in verdicts.RULES for name in [claim.key for claim in said.CLAIMS])


def test_the_numbers_by_hand_in_the_notebook_are_the_tables(study, folder):
    """No benchmark counts on the tiny model, so its study asserts none of the ratios."""
    cells = nbformat.read("notebooks/05_tables.ipynb", as_version=4).cells
    heads = [number for number, cell in enumerate(cells) if cell.source.startswith("## ")]
    first = next(number for number in heads if cells[number].source.startswith("## Four numbers by hand"))
    last = heads[heads.index(first) + 1]
    here = {"study": study, "source": folder, "np": np, "pd": pd, "Path": Path}
    for cell in cells[first:last]:
        if cell.cell_type == "code":
            exec(cell.source, here)
    table = study.tables["attacks"].dropna(subset="recovered_share")
    assert len(here["recovered"]) == len(table) > 1 and here["counted"]


def test_a_section_shows_its_tables_and_figures_in_order(study):
    found = study.section("cost")
    names = [
        "attack_cost",
        "attack_budgets",
        "recovered_by_depth",
        "recovered_by_queries",
        "cost_by_depth",
        "queries",
        "difficulty_ranks",
    ]
    assert re.findall(r"<h4>(\w+)</h4>", found.markup) == names
    assert [part.split("\n")[0] for part in repr(found).split("\n\n")] == names
    assert found.markup.count("<table") == 4 - study.tables["difficulty_ranks"].empty
    assert "toy-recovered_by_queries.png: Half of what was missing" in repr(found)


STITCH = ("layers 0", "layers 0", "stitch", 16, 94, 0.02, 0.70, 0.60)


def test_an_attack_beyond_the_paper_has_no_budget_of_the_papers(tmp_path):
    found = Report(write_study(tmp_path, attacks=ATTACKS | {"layer0-stitch": STITCH}, items=False))
    assert row(found.tables["attacks"], run="layer0-stitch")["agreement"] == 0.70
    assert "stitch 94 steps, 1 seed(s), not in the paper" in found.tables["claims"]["budget"].iloc[0]


@pytest.mark.parametrize(
    ("samples", "agreement", "expected", "words"),
    [
        (0, 0.90, evidence.CONTRADICTED, "strongest of each kind: stitch"),  # any attack breaks a set
        (0, 0.03, evidence.NOT_TESTED, "None of the paper's attacks"),
        (
            255_000,
            0.03,
            evidence.SUPPORTED,
            "strongest of each kind: ft_all",
        ),  # which needs the budget of the paper's only
        (1_000, 0.03, evidence.NOT_TESTED, "At most 0.39 % of the paper's"),
    ],
)
def test_solid_with_an_attack_beyond_the_paper(tmp_path, samples, agreement, expected, words):
    attacks = {"layer0-stitch": (*STITCH[:6], agreement, 0.0)}
    if samples:
        attacks["solid-ft_all"] = ("solid", "layers 0", "ft_all", 8, samples // 8, 0.02, 0.07, 0.05)
    found = Report(write_study(tmp_path, attacks=attacks, items=False))
    assert verdict(found, "solid_security")[0] == expected
    assert words in verdict(found, "solid_security")[1]
    assert "stitch" not in verdict(found, "sem_at_chance")[1]
