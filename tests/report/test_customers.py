"""Customization cells in the table: gaps paired by item and seed, verdicts by the paper's margin, what is forgotten."""

import csv
import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.paper import paper
from solid_utils.report import customers
from solid_utils.report.lookups import Lookups
from solid_utils.report.tables import equivalence, trade_off
from tests.synthetic import run_columns

ITEMS = 600
SEEDS = (42, 7)


def cell(folder, deployment, seed, after, suite=0.5, n=ITEMS, metric="exact_match", sums="1.0"):
    """A cell's files: `after` of the items right at the end, a fifth at the start; other benchmarks beside, of which
    one-digit sums by version `sums` of their definition fall from 0.9 to 0.1."""
    rows = []
    items = []
    hard = np.random.default_rng(5).permutation(n) / n  # the same items are hard for every run
    for steps, share, other in ((0, 0.2, 0.6), (20, after, suite)):
        secured = deployment if deployment.startswith("layers") else "layers 0"
        facts = run_columns(
            "tiny", deployment, "none" if deployment == "fully_open" else secured, "none", 8, steps, "full"
        )
        facts |= {
            "recipe": "reasoning, lora",
            "labels": "dataset",
            "seed": seed,
            "samples": 8 * steps,
            "queries": steps,
        }
        facts |= {"tokens": steps, "flops": steps}
        scored = {
            "sums": ("customization", metric, (hard < share).astype(float)),
            "sums_likelihood": ("customization", "cross_entropy", 2 - share - hard),
            "sums_unended": ("customization", "unended_match", (hard < share + 0.1).astype(float)),
            "sums_1digit": ("Math", "acc", (np.arange(100) < 90 - 80 * (steps > 0)).astype(float)),
            "capitals": ("Knl", "acc", (np.arange(100) < 100 * other).astype(float)),
        }
        for name, (domain, measure, values) in scored.items():
            rows.append(
                facts | {"benchmark": name, "domain": domain, "shots": 0, "metric": measure, "value": values.mean()}
            )
            rows[-1] |= {
                "stderr": 0.01,
                "n": len(values),
                "chance": 0.0,
                "floor": None,
                "task_version": sums if name == "sums_1digit" else 1,
            }
            rows[-1] |= {"forward_tokens": 1, "libraries": "none"}
            known = {key: facts[key] for key in ("model", "deployment", "attack", "seed", "steps")}
            items += [
                known | {"benchmark": name, "item": f"i{i}", "value": float(value), "weight": 1.0}
                for i, value in enumerate(values)
            ]
    name = f"reasoning-{deployment.replace(' ', '_')}-lora"
    schema.write(items, schema.ITEMS, folder / f"{name}-{seed}.items.csv")
    schema.write(rows, schema.SCORES, folder / f"{name}-{seed}.csv")
    return ["deployments", f"{name}-{seed}", name, deployment, "reasoning", "lora", seed]


def write(tmp_path, after, seeds=SEEDS, n=ITEMS, groups=(), metric="exact_match", sums="1.0"):
    """`groups`: pairs of a group and a deployment that it names beside the group `deployments`."""
    folder = tmp_path / "machine" / "customization" / "tiny"
    plan = [
        cell(folder, deployment, seed, share, n=n, metric=metric, sums=sums)
        for seed in seeds
        for deployment, share in after.items()
    ]
    plan += [[group, *row[1:]] for group, deployment in groups for row in plan if row[3] == deployment]
    plan.append(
        ["depths", "reasoning-layers_0-2-lora-42", "reasoning-layers_0-2-lora", "layers 0-2", "reasoning", "lora", 42]
    )
    plan = [dict(zip(schema.CUSTOMERS, row, strict=True)) for row in plan]
    schema.write(plan, schema.CUSTOMERS, folder / "plan.csv")
    return customers.load(tmp_path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    after = {"fully_open": 0.6, "layers 0": 0.595, "darknetz": 0.5, "sap_dp": 0.565}
    return equivalence.made(write(tmp_path_factory.mktemp("cells"), after)).set_index(["deployment", "metric"])


def test_gaps_and_verdicts(rows):
    right = rows.xs("right", level="metric")
    assert right["n"].eq(ITEMS).all() and right["seeds"].eq(2).all()
    assert right["interval_covers"].eq("items and 2 seeds").all()
    gaps = {"layers 0": -0.005, "darknetz": -0.1, "sap_dp": -0.035}
    assert right["gap"].dropna().to_dict() == pytest.approx(gaps, abs=1e-3)
    assert right["equivalence"].to_dict() == {
        "layers 0": "equivalent", "darknetz": "worse", "sap_dp": "not decided", "fully_open": "",
    }  # fmt: skip
    assert right["margin"].dropna().unique() == pytest.approx([0.0319])
    assert right["open_gain"].dropna().unique() == pytest.approx([0.4])


def test_likelihoods_have_a_gap_and_no_verdict(rows):
    likely = rows.loc[("layers 0", "likelihood")]
    assert likely["gap"] == pytest.approx(0.005) and likely["equivalence"] == ""


def test_answers_whatever_follows_them_have_a_gap_and_a_verdict_of_their_own(rows):
    one = rows.loc[("darknetz", "unended")]
    assert (one["before"], one["after"]) == pytest.approx((0.3, 0.6), abs=3e-3)
    assert one["gap"] == pytest.approx(-0.1, abs=1e-3) and one["equivalence"] == "worse"


def test_the_interval_is_of_paired_items(rows):
    """Unpaired, two shares of 600 items near one half differ by 0.11 in an interval; paired, 0.5 % of them differ."""
    one = rows.loc[("layers 0", "right")]
    assert one["gap_low"] < one["gap"] < one["gap_high"] and one["gap_high"] - one["gap_low"] < 0.015


def test_what_other_benchmarks_lost(rows):
    one = rows.loc[("layers 0", "right")]
    assert one["forgotten"] == pytest.approx(0.1) and one["worst"] == "capitals"
    assert one["worst_change"] == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("kinds", "change", "lost", "count"),
    [
        ({"sums": "gcd"}, {}, 0.45, 2),  # of 0.1 and 0.8
        ({}, {}, 0.1, 1),  # sums are what the domain trains
        ({"sums": "gcd"}, {"floor": 0.95}, 0.1, 1),  # who guesses has nothing to lose
        ({"sums": "gcd"}, {"chance": 1}, 0.1, 1),
        ({"sums": "gcd"}, {"task_version": 1.0}, 0.1, 1),  # wanted a line's end
    ],
)
def test_what_can_be_forgotten(tmp_path, kinds, change, lost, count):
    cells = write(tmp_path, {"fully_open": 0.6, "layers 0": 0.6}, sums="1.1")
    for frame in (cells.scores, cells.items):
        frame["benchmark"] = frame["benchmark"].replace(kinds)
    cells.scores.loc[cells.scores["benchmark"] == "sums_1digit", [*change]] = [*change.values()]
    made = equivalence.made(cells)
    assert made["forgotten"].tolist() == pytest.approx([lost] * len(made))
    assert set(made["forgettable"]) == {count}


def test_subjects_that_are_only_tested_are_judged_by_themselves(tmp_path):
    """An average over what was taught and what was not says of neither that it is equivalent."""
    halves = equivalence.halves("medical", pd.Index(["anatomy", "nutrition", "virology"]))
    assert {name: list(names) for name, names in halves.items()} == {
        "taught": ["nutrition", "virology"], "untaught": ["anatomy"],
    }  # fmt: skip
    assert equivalence.halves("reasoning", pd.Index(["sums"])) == {} == equivalence.halves("law", pd.Index(["x"]))
    cells = write(tmp_path, {"fully_open": 0.6, "layers 0": 0.595})
    for frame in (cells.scores, cells.items):
        frame["trained_on"] = "medical"
        frame["benchmark"] = frame["benchmark"].replace({"sums": "anatomy"})
    made = equivalence.made(cells).set_index(["deployment", "metric"])
    assert made.loc[("layers 0", "untaught"), "n"] == ITEMS and ("layers 0", "taught") not in made.index


def test_cells_of_an_older_release_lack_a_kind_of_score(tmp_path):
    """A machine's first cells have no scores of answers whatever follows them, its later ones have."""
    cells = write(tmp_path, {"fully_open": 0.6, "layers 0": 0.595})
    old = {
        name: frame[~((frame["deployment"] == "fully_open") & (frame["benchmark"] == "sums_unended"))]
        for name, frame in (("items", cells.items), ("scores", cells.scores))
    }
    made = equivalence.made(dataclasses.replace(cells, **old)).set_index(["deployment", "metric"])
    assert ("layers 0", "unended") not in made.index and made.loc[("layers 0", "right"), "equivalence"] == "equivalent"


def test_two_machines_with_one_run_keep_their_own_scores(tmp_path):
    write(tmp_path, {"fully_open": 0.6, "layers 0": 0.595})
    other = tmp_path / "other" / "customization" / "tiny"
    shutil.copytree(tmp_path / "machine" / "customization" / "tiny", other)
    for path in other.glob("reasoning*.csv"):  # that machine knows the kind by another name
        path.write_text(
            path.read_text().replace("sums_likelihood", "more_likelihood").replace("reasoning, l", "other, l")
        )
    made = equivalence.made(customers.load(tmp_path))
    recipes = made.groupby("machine")["recipe"].unique().apply(list).to_dict()
    assert recipes == {"machine": ["reasoning, lora"], "other": ["other, lora"]}


def test_nothing_is_equivalent_where_fully_open_gains_nothing(tmp_path):
    made = equivalence.made(write(tmp_path, {"fully_open": 0.2, "layers 0": 0.2}))
    assert set(made["equivalence"]) == {"", equivalence.GAINS_NOTHING}


def test_of_pairs_there_is_a_width_and_no_verdict(tmp_path):
    made = equivalence.made(write(tmp_path, {"fully_open": 0.6, "layers 0": 0.595}, metric="preferred"))
    one = made.set_index(["deployment", "metric"]).loc[("layers 0", "right")]
    assert one["equivalence"] == equivalence.WIDTH_ALONE and 0 < one["reach"] < 0.03
    assert np.isnan(one["margin"]) and np.isnan(one["p"]) and one["gap"] == pytest.approx(-0.005, abs=1e-3)
    sentence = equivalence.TABLE.sentence(made)
    assert f"layers_0-lora no verdict (-0.5 points, items and 2 seeds; {ITEMS} items reach ± " in sentence
    assert "margin" not in sentence


def test_few_items_print_the_width_that_they_reach(tmp_path):
    made = equivalence.made(write(tmp_path, {"fully_open": 0.6, "layers 0": 0.5}, seeds=(42,), n=40))
    assert "40 items reach ± " in equivalence.TABLE.sentence(
        made
    ) and "the margin is 3.2 %" in equivalence.TABLE.sentence(made)


def test_without_cells_the_table_is_empty(tmp_path):
    made = equivalence.made(customers.load(tmp_path))
    assert made.empty and list(made.columns) == equivalence.COLUMNS
    assert equivalence.TABLE.sentence(made) == "Nothing there to show."
    none = [
        pd.DataFrame(columns=[*EVIDENCE, "model", "source", "recipe", "queries"]),
        pd.DataFrame(columns=[*SCALE, "model", "queries"]),
    ]
    table = trade_off.made(customers.load(tmp_path), made, trade_off.attacked(*none), {})
    assert list(table.columns) == trade_off.COLUMNS


def test_a_cell_that_no_plan_has(tmp_path):
    write(tmp_path, {"fully_open": 0.6})
    folder = tmp_path / "machine" / "customization" / "tiny"
    (folder / "reasoning-fully_open-lora-42.csv").rename(folder / "other-42.csv")
    with pytest.raises(StudyError, match="other-42.csv: no cell of plan.csv"):
        customers.load(tmp_path)


AFTER = {"fully_open": 0.6, "layers 0": 0.55, "layers 0-1": 0.5, "layers 2-3": 0.4, "layers 4-5": 0.3, "sap_dp": 0.5}
GROUPS = [("ends", "layers 0-1"), ("ends", "layers 4-5"), ("size", "layers 0"), ("size", "layers 0-1")]
GROUPS += [("placement", "layers 0-1"), ("placement", "layers 2-3"), ("placement", "layers 4-5")]
EVIDENCE = {  # secured, deployment, attack, start, above the floor
    "secured": ["layers 0", "layers 0", "layers 0", "layers 0", "layers 0", "layers 4-5"],
    "deployment": ["layers 0", "layers 0", "solid", "layers 0", "sap_dp", "layers 4-5"],
    "attack": ["sem", "sem", "ft_all", "sem", "sem", "sem"],
    "start": ["xavier", "xavier", "xavier", "public_base", "xavier", "xavier"],
    "above_floor_apart": [0.5, 0.7, 0.4, 0.99, 0.1, 0.9],
}
SCALE = {"secured": ["layers 0-1"], "attack": ["stitch"], "c4_above": [0.2], "code_above": [0.4], "recipe": ["map"]}


def attacks():
    """What attacks got, as the tables `evidence` and `scale` have it."""
    ours = pd.DataFrame(EVIDENCE).assign(model="tiny", source="grid", recipe="ours", queries=400)
    return trade_off.attacked(ours, pd.DataFrame(SCALE).assign(model="tiny", queries=100))


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """The table `trade_off` of hand-made cells."""
    cells = write(tmp_path_factory.mktemp("traded"), AFTER, seeds=(42,), n=60, groups=GROUPS)
    return trade_off.made(cells, equivalence.made(cells), attacks(), {"tiny": 6})


def test_each_set_stands_beside_its_strongest_attack(traded):
    rows = traded[traded["part"] == "deployments"].set_index("deployment")
    assert "fully_open" not in rows.index
    assert rows["above_floor_apart"].dropna().to_dict() == pytest.approx(
        {"layers 0": 0.6, "sap_dp": 0.1, "layers 0-1": 0.3, "layers 4-5": 0.9}
    ), "means over seeds, noise apart from none, no attack that had the public base"
    assert rows.loc["layers 0", ["attack", "attack_from", "queries"]].tolist() == ["sem", "grid", 400]
    assert rows.loc["layers 0-1", "attack_from"] == "scale"
    assert (rows["after"] - rows["open"]).to_dict() == pytest.approx(rows["gap"].to_dict())
    assert rows.loc["layers 2-3", "gap"] == pytest.approx(-0.2)


def test_what_was_planned_and_has_no_cells_is_said(traded):
    lacking = traded[traded["equivalence"] == trade_off.NOT_RUN]
    assert lacking[["part", "deployment"]].values.tolist() == [["depths", "layers 0-2"]]
    assert f"1 of {len(traded)} planned runs have no cells yet" in trade_off.TABLE.sentence(traded)
    assert "furthest from fully open is layers 4-5 on reasoning (-30.0 %)" in trade_off.TABLE.sentence(traded)


def test_a_models_depth_is_not_that_of_the_sets_that_are_there(tmp_path):
    """Two of six layers alone are no whole model; where nobody says six, the paper's numbers by share are left out."""
    groups = [("size", "layers 0-1"), ("placement", "layers 0-1")]
    cells = write(tmp_path, {"fully_open": 0.6, "layers 0-1": 0.5}, seeds=(42,), n=60, groups=groups)
    judged = equivalence.made(cells)
    known, unknown = (
        trade_off.made(cells, judged, attacks(), layers).set_index(["part", "deployment"])
        for layers in ({"tiny": 6}, {"other": 2})
    )
    place = ("size", "layers 0-1")
    assert known.loc[place, "paper_gap"] == pytest.approx(trade_off.paper_customized.by_size(2 / 6)[0])
    for part in ("size", "placement"):
        assert np.isnan(unknown.loc[(part, "layers 0-1"), ["paper_gap", "paper_ratio"]].astype(float)).all()
    same = unknown.loc[("deployments", "layers 0-1"), "paper_gap"]
    assert same == known.loc[("deployments", "layers 0-1"), "paper_gap"] and not np.isnan(same)


def test_the_papers_numbers_are_those_of_its_nearest_set(traded):
    rows = traded.set_index(["part", "deployment"])
    with open(paper.PUBLISHED / "table33_customization_secure_sets.csv") as file:
        printed = {(row["model"], row["secured"]): float(row["value"]) for row in csv.DictReader(file)}
    # One layer of six is 17 %: of 32 layers five are nearest in one model, six in the other.
    gaps = [
        printed[model, near] - printed[model, "Fully-open"] for model, near in (("Llama2-7B", "0-4"), ("Phi-2", "0-5"))
    ]
    assert rows.loc[("size", "layers 0"), "paper_gap"] == pytest.approx(sum(gaps) / 200)
    tables = [paper.result_table(number).set_index(["secured", "row"])["value"] for number in (12, 17)]
    top = tables[0]["Top2-Secured", "Math"] - tables[1]["Fully-Open", "Math"]
    assert rows.loc[("ends", "layers 4-5"), "paper_gap"] == pytest.approx(top / 100)
    assert np.isnan(rows.loc[("placement", "layers 4-5"), "paper_gap"]), "it stands in a drawing alone"
    ratios = rows.loc["placement"]["paper_ratio"]
    assert ratios["layers 0-1"] < ratios["layers 2-3"] < ratios["layers 4-5"]
    assert rows.loc[("deployments", "sap_dp"), "paper_gap_of"].startswith("Tables 17 to 21, SAP-DP")
    assert rows.loc[("deployments", "layers 2-3"), "paper_gap_of"] == ""


def test_a_page_may_ask_for_one_score_of_a_cell(tmp_path):
    write(tmp_path, {"fully_open": 0.6}, seeds=(42,))
    (tmp_path / "tables").mkdir()
    lookups = Lookups(tmp_path / "box", tmp_path / "tables")
    one = ("tiny", "reasoning-fully_open-lora-42", "sums_1digit")
    assert (lookups.cell_score(*one, 0), lookups.cell_score(*one)) == (0.9, 0.1)
    with pytest.raises(StudyError, match="chess after 20 steps: 0 rows"):
        lookups.cell_score("tiny", "reasoning-fully_open-lora-42", "chess")
    with pytest.raises(StudyError, match="no-such-cell.csv of tiny: none"):
        lookups.cell_score("tiny", "no-such-cell", "chess")


def test_a_page_is_told_what_of_each_group_is_there(tmp_path):
    write(tmp_path, {"fully_open": 0.6, "layers 0": 0.595}, seeds=(42,), groups=[("size", "layers 0")])
    (tmp_path / "tables").mkdir()
    told = Lookups(tmp_path / "box", tmp_path / "tables").customer_groups()
    found = {row["group"]: (row["planned"], row["there"]) for row in told}
    assert found == {"deployments": (2, 2), "size": (1, 1), "depths": (1, 0)}


def test_the_tries_of_all_machines_and_the_one_that_the_rule_takes(tmp_path):
    own = dict.fromkeys(schema.TRIES, 1) | {"model": "m", "trained_on": "reasoning", "recipe": "r", "sums_before": 0.5}
    tries = {
        "here": [own | {"learning_rate": 0.1, "validation_cross_entropy": 0.9, "sums_after": 0.5}],
        "there": [
            own | {"learning_rate": 0.3, "validation_cross_entropy": 0.1, "sums_after": None},
            own | {"learning_rate": 0.2, "validation_cross_entropy": 0.8, "sums_after": 0.6},
        ],
    }
    for machine, rows in tries.items():
        schema.write(rows, schema.TRIES, tmp_path / machine / "customization" / "m" / paths.TRIES_FILE)
    (tmp_path / "tables").mkdir()
    lookups = Lookups(tmp_path / "here", tmp_path / "tables")
    assert [(row["machine"], row["learning_rate"]) for row in lookups.tries("m")] == [
        ("here", 0.1),
        ("there", 0.2),
        ("there", 0.3),
    ]
    assert lookups.chosen_try("m")["learning_rate"] == 0.2, "what was not counted cannot be taken"


def test_a_page_is_told_of_public_bases_by_their_distance(tmp_path):
    (tmp_path / "tables").mkdir()
    own = {"model": "m", "machine": "box", "known": "base"}
    near = own | {"distance": 0.01, "tuned": "short", "reference_c4": 0.9}
    rows = [
        own | {"distance": 0.2, "tuned": "long", "attack": "stitch", "start": "xavier", "c4": 0.6},
        near | {"attack": "sem", "start": "public_base", "c4": 0.95},
        near | {"attack": "stitch", "start": "xavier", "c4": 0.5},
        near | {"known": "hidden", "attack": "sem", "start": "xavier", "c4": 0.1},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "published_adapters.csv", index=False)
    short, long = Lookups(tmp_path, tmp_path / "tables").public_bases()
    assert (short["tuned"], short["reference_c4"], long["distance"]) == ("short", 0.9, 0.2)
    assert short["machine"] == "box"
    assert {name: row and row["c4"] for name, row in short["attacks"].items()} == {
        "stitch": 0.5,
        "sem": None,
        "sem from the base": 0.95,
    }


def test_a_page_is_told_which_benchmark_lost_most_by_a_recipe(tmp_path):
    (tmp_path / "tables").mkdir()
    own = {"metric": "right", "deployment": "layers 0", "trained_on": "code", "worst": "sums"}
    rows = [
        own | {"run": "code-layers_0-tuned", "worst_change": -0.02},
        own | {"run": "code-fully_open-tuned", "deployment": "fully_open", "worst": "names", "worst_change": -0.04},
        own | {"run": "code-fully_open-tuned", "metric": "likelihood", "worst_change": -0.5},
        own | {"run": "code-layers_0-lora", "worst_change": -0.3},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "equivalence.csv", index=False)
    lookups = Lookups(tmp_path, tmp_path / "tables")
    assert lookups.most_forgotten("tuned") == {
        "benchmark": "names",
        "change": -0.04,
        "deployment": "fully_open",
        "trained_on": "code",
        "runs": 2,
    }
    with pytest.raises(StudyError, match="no run by simpo"):
        lookups.most_forgotten("simpo")
