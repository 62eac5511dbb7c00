"""The attack grid: what is planned and in which order, a cell on a tiny model, killed and resumed, in the tables."""

import argparse
import dataclasses
import fcntl
import json
import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from solid_utils.attacks import declared
from solid_utils.attacks.run import AttackRun
from solid_utils.core import files, lock, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored
from solid_utils.difficulty import difficulty
from solid_utils.evaluation import published_tasks
from solid_utils.grid import cell_run, grid
from solid_utils.grid import cells as cells_module
from solid_utils.metrics import attack_cost
from solid_utils.model import models, sampling
from solid_utils.report import catalogue, results
from solid_utils.report.ratios import EVALUATION
from solid_utils.report.report import Report
from solid_utils.report.results import Results
from solid_utils.report.table import Context
from solid_utils.settings import attack_params, params, reading
from solid_utils.training import recorded, training
from tests.synthetic import fidelity, run_columns, write_study

GRID = {
    "tier": "tiny",
    "minutes": 40,
    "seeds": [42, 7],
    "evaluation": {},
    "recipes": {"ours": {"epochs": 2}, "paper": {"epochs": 2, "loss": "mse"}},
    "groups": {
        "depth": {"secured": ["layers 0-1", "layers 0"], "attack": "sem", "recipes": ["ours"], "queries": [8, 16]},
        "recipe": {"secured": ["layers 0"], "attack": "sem", "recipes": ["ours", "paper"], "queries": [16]},
        "late": {"secured": ["layers 2"], "attack": "sem", "recipes": ["ours"], "queries": [8]},
    },
}
FIRST = cells_module.Cell("layers 0", "sem", "ours", 8, 42)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkout with a tiny victim and made-up sets."""
    folder, stream = tmp_path_factory.mktemp("grid"), random.Random(0)
    raw = reading.read(Path("params.yaml")) | {"threads": 1, "grid": GRID, "scale": GRID | {"texts": True}}
    raw["study"]["models"] = ["tiny"]
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    words = ["the", "cat", "of", "a", "red", "house", "sat", "on", "some", "green", "hill", "and", "sang"]
    for name in ("attack", "validation", "evaluation", "apart_c4", "apart_code"):
        texts = [" ".join(stream.choices(words, k=40)) for _ in range(40)]
        items = [
            {"id": f"{name}-{n}", "source": "alpaca", "prompt": text, "answer": text[:30], "text": text}
            for n, text in enumerate(texts)
        ]
        files.write_lines(items, folder / "build/sets" / f"{name}.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        models.materialise(models.victim_folder("tiny"), params.load().model("tiny"))
    return folder


@pytest.fixture
def checkout(folder, monkeypatch) -> Path:
    """The checkout with nothing run in it."""
    monkeypatch.chdir(folder)
    for name in ("build/state", "build/grid", "reference"):
        shutil.rmtree(name, ignore_errors=True)
    return folder


def test_each_cell_once_the_first_seeds_first_and_the_cheapest_of_them(checkout):
    cells = grid.Grid("tiny", params.load()).cells
    assert len(cells) == len(set(cells)) == 2 * (4 + 1 + 1), "layers 0 by ours with 16 queries stands in two groups"
    assert [cell.seed for cell in cells] == [42] * 6 + [7] * 6
    names = [cell.name for cell in cells]
    assert names[0] == "sem-layers_0-ours-8-42"
    assert names.index("sem-layers_0-1-ours-8-42") < names.index("sem-layers_0-1-ours-16-42")
    assert names.index("sem-layers_0-ours-16-42") < names.index("sem-layers_0-1-ours-16-42")


def test_a_cell_is_an_attack_with_its_own_budget():
    study = params.load()
    cell = cells_module.Cell("layers 0", "sem", "paper", 6400, 20)
    mine = cell.study(study, study.grid)
    recipe, usual = declared.recipe(mine, "smollm2-135m", cell.name), study.budgets("smollm2-135m").attack.sem
    assert (recipe.queries, recipe.batch, recipe.loss, recipe.length) == (6400, 32, "mse", usual.length)
    assert recipe.total_steps(6400) == 4 * 6400 // 32
    assert mine.budgets("smollm2-135m").attack.seeds == [20] and mine.tier == "full"
    assert study.tier != "full", "the study itself is as it was"


def test_equal_tokens_under_every_recipe_of_the_shipped_grid():
    study = params.load()
    for cells in cells_module.cells(study.grid, 30).values():
        found = [
            (one, declared.recipe(one.study(study, study.grid), "smollm2-135m", one.name))
            for one in cells
            if one.attack == "sem"
        ]
        tokens = {(cell.queries, recipe.total_steps(cell.queries) * recipe.batch) for cell, recipe in found}
        assert len(tokens) == len({queries for queries, _ in tokens})


def test_a_stitch_has_one_seed_unless_it_draws_its_texts():
    cells = cells_module.cells(params.load().grid, 30)
    assert {cell.seed for cell in cells["stitch"]} == {42}
    assert {cell.seed for cell in cells["depth"]} == {42, 1234, 20}
    assert [cell.seed for cell in cells["stitch_draw"]] == [seed for seed in (42, 1234, 20) for _ in range(6)]


def test_unknown_groups_and_recipes_are_one_line():
    with pytest.raises(StudyError, match="groups: unknown name 'deep'"):
        cells_module.cells(params.load().grid, 30, ["deep"])
    raw = reading.read(Path("params.yaml"))
    raw["grid"]["recipes"]["ours"] = {}
    with pytest.raises(StudyError, match="recipes.ours: needs epochs"):
        declared.check(params.validated(params.Params, raw, "params.yaml"))


def test_a_recipe_that_is_none_is_told_before_any_cell_runs(checkout):
    study = params.load()
    recipes = study.grid.recipes | {"ours": study.grid.recipes["ours"] | {"learning_rate": float("nan")}}
    broken = study.model_copy(update={"grid": study.grid.model_copy(update={"recipes": recipes})})
    with pytest.raises(StudyError, match="^grid.recipes.ours: .*learning_rate"):
        grid.Grid("tiny", broken)


def scores(cell: cells_module.Cell) -> pd.DataFrame:
    return schema.read(next(Path("reference").glob(f"*/grid/tiny/{cell.name}.csv")), schema.SCORES)


def test_a_cell_runs_end_to_end_and_is_skipped_when_it_is_there(checkout, monkeypatch, capsys):
    here = grid.Grid("tiny", params.load())
    victim = {name: parameter.clone() for name, parameter in here.victim.named_parameters()}
    load = models.load_victim
    monkeypatch.setattr(models, "load_victim", lambda *_: pytest.fail("a second copy of the victim"))
    for cell in (FIRST, dataclasses.replace(FIRST, secured="layers 2")):
        here.run_cell(cell)
        assert all(torch.equal(parameter, victim[name]) for name, parameter in here.victim.named_parameters())
        rows = scores(cell)
        agreement = rows[rows["metric"] == "agreement"]
        assert set(agreement["benchmark"]) == {"evaluation", "evaluation_c4", "evaluation_code"}
        assert sorted(set(rows["steps"])) == [0, 2] and set(rows["tier"]) == {"full"}
        assert rows["queries"].max() == 8, "no validation query"
        assert rows["recipe"].str.endswith("2 epochs").all()
    monkeypatch.setattr(models, "load_victim", load)
    untouched = scores(FIRST)
    monkeypatch.setattr(grid.Grid, "run_cell", lambda self, cell: print(f"ran {cell.name}"))
    here.run(minutes=float("inf"))
    told = capsys.readouterr().out
    assert f"ran {FIRST.name}" not in told and told.count("ran ") == 10
    pd.testing.assert_frame_equal(scores(FIRST), untouched)
    assert "2 of 12 cells are there, 10 to run" in here.listing()
    here.run(minutes=-1)
    assert "nothing was started" in capsys.readouterr().out


def test_a_cell_of_another_recipe_or_on_other_prompts_does_not_count(checkout):
    here = grid.Grid("tiny", params.load())
    recipe = "adamw 0.001, decay 0.01, cosine, batch 8 x 64 tokens, relative_mse, 2 epochs"
    now = {"start": "xavier", "recipe": recipe, "view": "token ids and boundary states"}
    row = dict.fromkeys(schema.SCORES, 1) | now | {"metric": "agreement", "only_layers": True, "model": "tiny"}
    row |= {"deployment": FIRST.secured, "attack": FIRST.attack, "seed": FIRST.seed}

    def write(**changes) -> None:
        sets = here.answer_tokens.items()
        rows = [row | {"steps": steps, "benchmark": name, "n": n} | changes for steps in (0, 2) for name, n in sets]
        schema.write(rows, schema.SCORES, here.path(FIRST))

    write()
    assert here.ran(FIRST) and "1 of 12 cells are there" in here.listing()
    for changes, told in (
        ({"recipe": "adamw 0.5, 2 epochs"}, "recipe is 'adamw 0.5, 2 epochs', configs.grid.yaml says 'adamw 0.001"),
        ({"view": "token ids"}, "view is 'token ids'"),
        ({"seed": FIRST.seed + 1}, "its seed is "),
        ({"n": 1}, "scored on {'evaluation': 1, .* grid.evaluation asks for {'evaluation': "),
    ):
        write(**changes)
        for count_it in (here.listing, lambda: here.run(minutes=-1)):
            with pytest.raises(StudyError, match=told):
                count_it()
    write()
    whole = here.path(FIRST).read_bytes()
    for end in (whole.rindex(b"evaluation_code"), len(whole) - 3, whole.rindex(b"\n", 0, -1) + 1):
        here.path(FIRST).write_bytes(whole[:end])
        with pytest.raises(StudyError, match=f"{FIRST.name}.csv: .*; delete the file to run the cell again"):
            here.ran(FIRST)


def test_recordings_in_blocks_are_those_of_one_run_and_shared(checkout, monkeypatch):
    monkeypatch.setattr(cell_run, "BLOCK", 5)
    cells = [dataclasses.replace(FIRST, secured="layers 2", queries=queries) for queries in (8, 16)]
    victim = models.load_victim("tiny", params.load().model("tiny"))
    shorter, longer = (cell_run.CellRun("tiny", cell, params.load(), "grid", None, victim) for cell in cells)
    attacker, numbers = shorter.start(42), torch.arange(8)
    for blocks, whole in (
        (shorter.answers(), AttackRun.answers(shorter)),
        (shorter.entered(attacker), AttackRun.entered(shorter, attacker)),
    ):
        torch.testing.assert_close(blocks.of(numbers).float(), whole.of(numbers).float(), rtol=1e-2, atol=1e-3)
    asked, batches = [], recorded.in_batches
    monkeypatch.setattr(recorded, "in_batches", lambda samples, *rest: asked.extend(samples) or batches(samples, *rest))
    longer.answers()
    assert sorted(asked) == list(range(5, 16)), "samples 0 to 4 were recorded for the shorter cell"


def test_cells_of_one_set_and_seed_score_their_start_once(checkout, monkeypatch):
    here, scored, score = grid.Grid("tiny", params.load()), [], cell_run.CellRun.scores
    monkeypatch.setattr(cell_run.CellRun, "scores", lambda self, model: scored.append(self.run) or score(self, model))
    more = dataclasses.replace(FIRST, queries=16)
    for cell in (FIRST, more):
        here.run_cell(cell)
    assert scored == [FIRST.name, FIRST.name, more.name]


def test_a_cell_beyond_the_limit_is_not_run(checkout, monkeypatch, capsys):
    here = grid.Grid("tiny", params.load())
    here.seconds = {FIRST.name: 60 * 35}
    monkeypatch.setattr(grid.Grid, "run_cell", lambda self, cell: print(f"ran {cell.name}"))
    here.run(minutes=float("inf"))
    told = capsys.readouterr().out
    assert f"ran {FIRST.name}" in told and "over the limit; not run" in told
    assert len(pd.read_csv(here.folder / "plan.csv")) == 2 * (4 + 2 + 1)


def test_a_refused_cell_ends_no_other_and_is_told_at_the_end(checkout, monkeypatch, capsys):
    ran = []

    def run_cell(self, cell):
        if cell.secured == "layers 2":
            raise StudyError("memory: too little")
        ran.append(cell.name)

    monkeypatch.setattr(grid.Grid, "run_cell", run_cell)
    here = grid.Grid("tiny", params.load())
    with pytest.raises(StudyError, match="2 cells were refused, sem-layers_2-ours-8-42 first"):
        here.run(minutes=float("inf"))
    assert len(ran) == len(here.cells) - 2
    assert "sem-layers_2-ours-8-7: memory: too little; going on" in capsys.readouterr().out


def test_a_set_on_which_another_process_works_is_left_to_it(checkout, monkeypatch, capsys):
    taken = cell_run.asked("tiny", "grid", FIRST)
    taken.mkdir(parents=True)
    ran = []
    monkeypatch.setattr(grid.Grid, "run_cell", lambda self, cell: ran.append(cell.secured))
    with (taken / lock.FILE).open("w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)  # as another process: this one has another descriptor
        grid.Grid("tiny", params.load()).run(minutes=float("inf"))
    assert set(ran) == {"layers 0-1", "layers 2"}
    assert "left to it" in capsys.readouterr().out


def test_a_victim_without_a_stage_is_asked_for_its_answers_once(checkout, monkeypatch):
    asked = []
    monkeypatch.setattr(grid.labels.oracle, "label", lambda model, study: asked.append((model, study.tier)))
    study = params.load()
    cells = [FIRST, dataclasses.replace(FIRST, attack="ft_closed")]
    shutil.rmtree("build/labels", ignore_errors=True)
    grid.labels.see_to("tiny", study, study.grid, cells[:1])
    assert not asked, "SEM trains on no answer"
    grid.labels.see_to("tiny", study, study.grid, cells)
    assert asked == [("tiny", "tiny")]
    for name in ("clean", "noisy"):
        files.write_lines([], Path(f"build/labels/tiny/{name}.jsonl"))
    grid.labels.see_to("tiny", study, study.grid, cells)
    assert len(asked) == 1


def test_killed_before_its_scores_a_cell_trains_no_second_time(checkout, monkeypatch):
    grid.Grid("tiny", params.load()).run_cell(FIRST)
    whole = scores(FIRST)
    shutil.rmtree("reference")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AttackRun, "end_scores", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        grid.Grid("tiny", params.load()).run_cell(FIRST)
    assert not list(Path("reference").glob("*/grid/tiny/*.csv"))
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("it was trained before"))
    grid.Grid("tiny", params.load()).run_cell(FIRST)
    pd.testing.assert_frame_equal(scores(FIRST), whole)


def write_cell(folder: Path, recipe: str, secured: str, queries: int, agreement: float, seed: int = 42) -> None:
    name = f"sem-{secured.replace(' ', '_')}-{recipe}-{queries}-{seed}"
    run = run_columns("toy", secured, secured, "sem", 16, queries // 4, "full")
    run |= {"recipe": f"{recipe}, 4 epochs", "seed": seed, "queries": queries, "tokens": 100 * queries}
    start = run | {"steps": 0, "queries": 0, "tokens": 0}
    rows = [start | one for one in fidelity(0.1)] + [run | one for one in fidelity(agreement)]
    schema.write(rows, schema.SCORES, folder / f"{name}.csv")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Report:
    """A results folder with a grid beside it: two points on each of four layers, three recipes on the first."""
    root = write_study(tmp_path_factory.mktemp("study"), items=False)
    folder = root / "grid" / "toy"
    for number, end in enumerate((0.30, 0.46, 0.64, 0.91)):  # DD 11.0, 6.5, 5.5, 3.0
        for queries, more in ((400, 0.0), (800, 0.05)):
            write_cell(folder, "ours", f"layers {number}", queries, end + more)
    write_cell(folder, "paper", "layers 0", 800, 0.19)
    write_cell(folder, "paper_rate", "layers 0", 800, 0.28)
    places = [f"layers {number}" for number in range(5)]
    settings = {"attack": "sem", "queries": [400, 800]}
    groups = {
        "placement": attack_params.GridGroup(secured=places, recipes=["ours"], **settings),
        "recipe": attack_params.GridGroup(secured=places[:1], recipes=["ours", "paper", "paper_rate"], **settings),
    }
    planned = cells_module.cells(params.load().grid.model_copy(update={"groups": groups, "seeds": [42]}), 8)
    schema.write(cells_module.plan_table(planned), schema.PLAN, folder / paths.PLAN_FILE)
    given = dict.fromkeys(schema.LEAKS, 1) | {"model": "toy", "queries": 6, "width": 32, "outside": 0.1}
    leaks = [
        given | {"deployment": "sap", "estimated_width": 32, "gap": 5e4},
        given | {"deployment": "sap_dp", "estimated_width": 7, "gap": 1.2, "agreement": 0.8, "askings_99": 680},
    ]
    schema.write(leaks, schema.LEAKS, folder / paths.LEAKS_FILE)
    return Report(root)


def test_what_logits_give_away_is_read_out(study):
    told = catalogue.TABLES["leaks"].sentence(study.tables["leaks"])
    assert "sap: a width of 32 shows" in told and "sap_dp: no width shows" in told
    assert "one noise leaves 80.0 % of the most likely tokens, 680 askings give 99 %" in told


def test_cells_are_points_of_the_cost_table(study):
    points = study.tables["attack_points"]
    mine = points[points["secured"] == "layers 3"]
    assert mine["steps"].tolist() == [0, 100, 200] and mine["start_agreement"].unique().tolist() == [0.1]
    costs = attack_cost.costs(mine).set_index("level")
    assert costs.loc[0.8, "queries"] == 400 and not costs.loc[0.8, "censored"], "0.90 and 0.96 recovered, twice past it"
    table = study.tables["attack_cost"]
    reached = table[(table["secured"] == "layers 3") & (table["measure"] == "queries")].set_index("level")
    assert reached.loc[0.5, "cost"] == 400
    bare = catalogue.make(dataclasses.replace(study.results, grid=study.results.grid.iloc[:0]))
    assert len(bare["attack_points"]) == len(points) - 4 * 3 - 2 * 2


def test_what_was_not_reached_says_so(study):
    cells = study.tables["grid_cells"].set_index(["secured", "recipe"])
    assert cells.loc[("layers 4", "ours"), ["planned", "run", "not_reached"]].tolist() == [2, 0, 2]
    assert cells.loc[("layers 0", "paper"), ["planned", "run", "not_reached"]].tolist() == [2, 1, 1]
    assert cells.loc[("layers 0", "ours"), "groups"] == "placement, recipe", "its cells count once"
    assert "10 of 14 planned cells ran" in repr(study.table("grid_cells"))


def test_which_part_of_the_recipe_matters(study):
    table = study.tables["grid_recipes"].set_index("recipe")
    assert table.loc["paper", "change"] == pytest.approx((0.19 - 0.35) / 0.9)
    assert table.loc["paper_rate", "change"] == pytest.approx((0.28 - 0.35) / 0.9)
    told = repr(study.table("grid_recipes"))
    assert "ours 27.8 %, paper 10.0 %; ours with the paper's rate -7.8 points." in told


def of_another_seed(results: Results, cells: str, more: float = 0.0) -> Results:
    """With the cells of this pattern once more, by seed 7."""

    def again(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["cell"].str.fullmatch(cells)]
        rows = rows.assign(seed=7, cell=rows["cell"].str.replace(r"-42$", "-7", regex=True))
        if "value" in rows:
            rows["value"] += more
        return pd.concat([table, rows])

    return dataclasses.replace(results, grid=again(results.grid), planned=again(results.planned))


def test_recipes_are_compared_seed_by_seed(study):
    more = of_another_seed(study.results, r"sem-layers_0-ours-800-42", more=0.3)
    table = catalogue.make(more)["grid_recipes"].set_index("recipe")
    assert table["seeds"].to_dict() == {"ours": 2, "paper": 1, "paper_rate": 1}
    assert table.loc["paper", "change"] == pytest.approx((0.19 - 0.35) / 0.9) and table.loc["paper", "pairs"] == 1


def test_placement_goes_with_difficulty(study):
    row = study.tables["grid_placement"].set_index("queries").loc[800]
    assert row["spearman"] == pytest.approx(-1) and row["sets"] == 4
    assert (row["least"], row["most"]) == ("layers 0", "layers 3")
    assert "sem with 800 queries -1.00 over 4 layers (95 %" in repr(study.table("grid_placement"))


@pytest.mark.parametrize(("layers", "seeds"), [("[0-2]", 1), ("[0-3]", 2)])
def test_placement_is_that_of_the_seeds_with_most_layers(study, layers, seeds):
    more = of_another_seed(study.results, f"sem-layers_{layers}-ours-800-42")
    row = catalogue.make(more)["grid_placement"].set_index("queries").loc[800]
    assert (row["seeds"], row["sets"]) == (seeds, 4)


@pytest.mark.parametrize("change", [{"view": "token ids and noisy logits"}, {"start": "skip"}])
def test_attacks_that_see_or_start_from_something_else_are_another_curve(study, change):
    mine = study.results.grid[study.results.grid["run"] == "sem-layers_0-ours"]
    both = dataclasses.replace(study.results, grid=pd.concat([mine, mine.assign(run="other", **change)]))
    points = Context(both, catalogue.TABLES.values()).table("attack_points")
    ours = points[points["recipe"].str.startswith("ours, 4 epochs")]
    assert ours.groupby("recipe")["steps"].agg(list).tolist() == [[0, 100, 200]] * 2


def test_a_grid_elsewhere_is_found_and_other_models_are_left_out(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study.results.folder / "grid", "reference/box/grid")
    shutil.copytree("reference/box/grid/toy", "reference/box/grid/other")
    shutil.copytree(study.results.folder / "runs", "results/runs")
    assert set(results.load(Path("results")).grid["model"]) == {"toy"}
    assert results.grid_folder(study.results.folder) == study.results.folder / "grid"
    assert json.loads(results.load(Path("results")).planned.to_json(orient="records"))


def options(**recipes: dict) -> params.Params:
    """The study whose grid has these recipes too."""
    study = params.load()
    return study.model_copy(update={"grid": study.grid.model_copy(update={"recipes": study.grid.recipes | recipes})})


@pytest.mark.parametrize(
    ("attack", "recipe", "column", "said"),
    [
        ("sem", {"start": "skip"}, "start", "skip"),
        ("sem", {"loss": "cosine"}, "recipe", "cosine"),
        ("sem", {"replacement": 1}, "recipe", "1 layer(s) in place"),
        ("stitch", {"previous": 1}, "recipe", "ridge, 1 previous tokens"),
        ("ft_all", {"objective": "logits"}, "view", "logits"),
        ("ft_all", {"method": "lora", "rank": 2, "alpha": 4}, "recipe", "lora rank 2"),
        ("ft_closed", {}, "attack", "ft_closed"),
    ],
)
def test_a_cell_may_be_any_attack(checkout, attack, recipe, column, said):
    items = sampling.read_set("attack") + sampling.read_set("validation")
    labels = [{"id": item["id"], "answer_ids": [5, 6, 7]} for item in items]
    files.write_lines(labels, checkout / "build/labels/tiny/clean.jsonl")
    study = options(odd=recipe if attack == "stitch" else recipe | {"epochs": 1})
    cell = cells_module.Cell("layers 0-1", attack, "odd", 8, 42)
    here = grid.Grid("tiny", study)
    here.work[cell] = here.flops(cell)
    here.run_cell(cell)
    found = schema.read(here.path(cell), schema.SCORES)
    assert said in found[column].iloc[-1] and found["queries"].max() == 8 and here.ran(cell)


def test_what_logits_alone_give_away_is_measured_once(checkout, monkeypatch):
    here = grid.Grid("tiny", params.load())
    here.leaks()
    found = schema.read(here.folder / paths.LEAKS_FILE, schema.LEAKS).set_index("deployment")
    clean, noisy = found.loc["sap"], found.loc["sap_dp"]
    assert clean["estimated_width"] == 32 and clean["gap"] > 1000 and clean["outside"] < 1e-6
    assert noisy["gap"] < 2 and noisy["outside"] > 0.2, "logits of a random model drown in noise of 0.5"
    assert (clean["agreement"], clean["askings_99"]) == (1, 1)
    assert noisy["agreement"] < 0.1, "judged by the clean logits: noisy ones lie farther apart, and would give 0.4"
    assert noisy["positions"] == 3 * 32
    monkeypatch.setattr(grid.leaks, "measured", None)
    here.leaks()


def test_an_option_that_does_not_fit_the_attack_is_refused(checkout):
    study = options(odd={"epochs": 1, "objective": "logits"})
    with pytest.raises(StudyError, match="objective: Extra inputs are not permitted"):
        cell = cells_module.Cell("layers 0", "sem", "odd", 8, 42)
        declared.attack(cell.study(study, study.grid), cell.name)


def test_who_tunes_is_judged_on_texts_that_did_not_choose(study):
    def chosen(rows: pd.DataFrame) -> pd.DataFrame:
        """Texts by which another recipe is best than by the prompts that count."""
        other = rows[rows["benchmark"] == EVALUATION].assign(benchmark="evaluation_c4")
        rows = rows[rows["benchmark"] != "evaluation_c4"]
        return pd.concat([rows, other.assign(value=[0.9 if "paper_rate" in cell else 0.2 for cell in other["cell"]])])

    table = catalogue.make(dataclasses.replace(study.results, grid=chosen(study.results.grid)))["grid_tuned"]
    row = table.iloc[0]
    assert len(table) == 1 and (row["chosen"], row["tries"]) == ("paper_rate", 3)
    assert row["recovered"] == pytest.approx(0.18 / 0.9) and row["usual"] == pytest.approx(0.25 / 0.9)
    each = study.results.grid[study.results.grid["queries"] == 800].drop_duplicates("cell").set_index("recipe")
    assert row["flops"] == each.loc[each["secured"] == "layers 0", "flops"].sum()
    assert row["asked"] == 800 + 500, "and the 500 texts that he chose by"


def test_the_parts_of_a_list_are_the_whole_list_each_set_in_one(checkout):
    whole = grid.Grid("tiny", params.load()).cells
    parts = [grid.Grid("tiny", params.load(), part=(number, 3)).cells for number in (1, 2, 3)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(cell.name for cell in whole)
    sets = [{cell.secured for cell in part} for part in parts]
    assert sum(map(len, sets)) == len(set().union(*sets))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_what_is_no_part_is_one_line(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no part; write 1/8 to 8/8"):
        grid.part(text)


def test_another_list_keeps_every_text_and_lies_in_a_folder_of_its_own(checkout):
    here = grid.Grid("tiny", params.load(), name="scale")
    here.run_cell(FIRST)
    (path,) = Path("reference").glob(f"*/scale/tiny/{FIRST.name}.csv")
    rows = schema.read(path, schema.SCORES)
    texts = schema.read(path.with_name(FIRST.name + paths.ITEMS_END), schema.TEXTS)
    for (name, steps), mine in texts.groupby(["benchmark", "steps"]):
        whole = rows[(rows["benchmark"] == name) & (rows["steps"] == steps)].set_index("metric")["value"]
        assert mine["agreeing"].sum() / mine["tokens"].sum() == pytest.approx(whole["agreement"])
        assert mine["kl"].mean() == pytest.approx(whole["kl"])
    (noted,) = schema.read(path.with_name(paths.HYPOTHESES_FILE), schema.REGISTERED).to_dict("records")
    assert noted == {"cell": FIRST.name, "sha256": "none", "commit": "none"}, "no hypotheses, no repository here"
    assert len(texts) and not list(Path("reference").glob("*/grid"))
    assert here.ran(FIRST)


def test_benchmarks_are_scored_where_the_list_has_them(checkout, monkeypatch):
    study = params.load()
    wanted = {"benchmark": "sums", "metric": "acc", "value": 0.5}
    monkeypatch.setattr(published_tasks, "run_suite", lambda *_: Scored([], [wanted]))
    scored = dataclasses.replace(FIRST, benchmarks=True)
    here = grid.Grid("tiny", study, name="scale")
    victim = here.victim, here.tokenizer, here.revision
    run = cell_run.CellRun("tiny", scored, study, "scale", here.remembered, victim)
    assert wanted in run.scores(run.start(42)).items
    plain = cell_run.CellRun("tiny", FIRST, params.load(), "grid", run.remembered, victim)
    assert wanted not in plain.scores(plain.start(42)).items
    listed = study.scale.model_copy(update={"benchmarks": ["late"]})
    cells = [cell for found in cells_module.cells(listed, 8).values() for cell in found]
    assert {cell.secured for cell in cells if cell.benchmarks} == {"layers 2"}


def test_benchmark_items_lie_beside_their_cell_and_beside_the_victim(checkout, monkeypatch):
    """A ratio to the victim needs both sides item by item; the texts of fidelity have a file of their own."""
    row = {"benchmark": "sums", "domain": "Math", "shots": 0, "metric": "acc", "value": 0.5, "stderr": 0.1, "n": 2}
    row |= {"chance": 0, "floor": None, "task_version": "1", "forward_tokens": 8, "libraries": "torch 2"}
    items = [{"benchmark": "sums", "item": str(number), "value": number, "weight": 1} for number in (0, 1)]
    monkeypatch.setattr(published_tasks, "run_suite", lambda *_: Scored([row], items))
    here = grid.Grid("tiny", params.load(), name="scale")
    scored = dataclasses.replace(FIRST, benchmarks=True)
    here.cells = [scored]
    here.own_scores()
    here.run_cell(scored)
    (theirs,) = Path("reference").glob(f"*/scale/tiny/{paths.VICTIM_ITEMS_FILE}")
    own = schema.read(theirs.with_name(FIRST.name + paths.BENCHMARK_ITEMS_END), schema.ITEMS)
    assert set(own["benchmark"]) == {"sums"} and own.groupby("steps")["value"].sum().tolist() == [1, 1]
    assert schema.read(theirs, schema.ITEMS)["item"].astype(str).tolist() == ["0", "1"]
    theirs.unlink()
    here.own_scores()
    assert theirs.exists(), "an older run kept the victim's scores alone"


def test_the_dd_of_the_sets_lies_beside_the_cells(checkout, monkeypatch):
    study = params.load()
    study = study.model_copy(update={"scale": study.scale.model_copy(update={"difficulty": ["depth"]})})
    here = grid.Grid("tiny", study, name="scale")
    here.difficulty()
    (path,) = Path("reference").glob(f"*/scale/tiny/{paths.DD_FILE}")
    rows = schema.read(path, schema.DD)
    tiny = study.model_copy(update={"tier": study.scale.tier}).budgets("tiny")
    budget = tiny.difficulty
    assert set(rows["secured"]) == {"layers 0", "layers 0-1"}
    assert set(rows["seed"].astype(str)) == {*map(str, budget.seeds), "mean"}
    samples = sampling.samples("evaluation", here.tokenizer, tiny.length, budget.samples)
    plain = difficulty.Difficulty(here.victim, samples, budget.start, here.tokenizer.pad_token_id)
    wanted = plain.losses(["layers 0"], [budget.seeds[0]])["layers 0"][budget.seeds[0]].mean()
    found = rows[(rows["secured"] == "layers 0") & (rows["seed"].astype(str) == str(budget.seeds[0]))]["dd"]
    assert found.iloc[0] == pytest.approx(wanted)
    before = path.read_bytes()
    monkeypatch.setattr(difficulty.Difficulty, "losses", None)
    here.difficulty()
    assert path.read_bytes() == before, "it is there"
