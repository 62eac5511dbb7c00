"""Customization cells: which are planned and in which order, one on a tiny model, skipped when there, resumed."""

import fcntl
import shutil
from pathlib import Path

import pytest
import yaml

from solid_utils.core import files, lock, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored
from solid_utils.customization.customization import CustomizationRun
from solid_utils.data import prompts
from solid_utils.data.offline import offline
from solid_utils.evaluation import published_tasks
from solid_utils.grid import customer_cells, customers, domain_sets, noted, shared, tuning
from solid_utils.grid.customer_cells import CustomerCell
from solid_utils.model import models
from solid_utils.report import customers as shipped
from solid_utils.report.tables import equivalence
from solid_utils.settings import params

SIZES = {"train": 40, "validation": 4, "test": 12}
CUSTOMERS = {
    "tier": "tiny",
    "minutes": 40,
    "seeds": [42, 7],
    "evaluation": {},
    "recipes": {"lora": {"steps": 2, "packed": True}},
    "groups": {
        "deployments": {
            "models": ["tiny"], "secured": ["fully_open", "prefix 1", "darknetz"], "domains": ["sums"],
            "recipes": ["lora"],
        },
        "size": {
            "models": ["tiny", "smollm2-135m"], "secured": ["layers 0", "prefix 1/2"], "domains": ["sums"],
            "recipes": ["lora"], "seeds": [42],
        },
    },
}  # fmt: skip
SUMS = {"source": "reasoning", "kinds": {"sums": {"make": "chain_sum", "min_digits": 1, "max_digits": 2}}} | SIZES
FIRST = CustomerCell("tiny", "fully_open", "sums", "lora", 42)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkout with the tiny victim, held-out texts, and a list of customization cells."""
    folder = tmp_path_factory.mktemp("customers")
    shutil.copytree("configs", folder / "configs")
    shutil.copy("params.yaml", folder)
    domains = yaml.safe_load(Path("configs/domains.yaml").read_text())["domains"] | {"sums": SUMS}
    for name, key, value in (("customization", "customers", CUSTOMERS), ("domains", "domains", domains)):
        (folder / "configs" / f"{name}.yaml").write_text(yaml.safe_dump({key: value}))
    # From these the tiny model's tokenizer is made, so that prompts of sums are short.
    asked = "State the final answer to the following arithmetic problem: {n} + {n} ="
    texts = [prompts.ALPACA + "\n\n### Instruction:\n" + asked.format(n=n) + "\n\n### Response:\n" for n in range(40)]
    for name in ("attack", "evaluation", "apart_c4", "apart_code"):
        items = [
            {"id": f"{name}-{n}", "source": "alpaca", "prompt": t, "answer": t[:30], "text": t}
            for n, t in enumerate(texts)
        ]
        files.write_lines(items, folder / paths.SETS / f"{name}.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        models.materialise(models.victim_folder("tiny"), params.load().model("tiny"))
    return folder


@pytest.fixture
def checkout(folder, monkeypatch) -> Path:
    """The checkout with nothing run in it, and one benchmark of four items."""
    monkeypatch.chdir(folder)
    for name in ("build/state", "build/grid", "build/domains", "reference"):
        shutil.rmtree(name, ignore_errors=True)
    row = {"benchmark": "capitals", "domain": "Knl", "shots": 0, "metric": "acc", "value": 0.5, "stderr": 0.1, "n": 2}
    row |= {"chance": 0.0, "floor": None, "task_version": 1, "forward_tokens": 1, "libraries": "none"}
    items = [{"benchmark": "capitals", "item": f"i{n}", "value": float(n), "weight": 1.0} for n in range(2)]
    monkeypatch.setattr(published_tasks, "run_suite", lambda *_: Scored([row], items))
    return folder


def test_groups_in_their_order_seeds_outermost_each_cell_once(checkout):
    here = customers.Customers(params.load())
    names = [cell.name for cell in here.cells]
    assert names == [
        "sums-fully_open-lora-42", "sums-layers_0-lora-42", "sums-darknetz-lora-42",
        "sums-fully_open-lora-7", "sums-layers_0-lora-7", "sums-darknetz-lora-7", "sums-layers_0-3-lora-42",
    ]  # fmt: skip
    assert here.absent == ["smollm2-135m"]
    assert "smollm2-135m: its victim is not there" in here.listing() and "0 of 7 cells are there" in here.listing()


def test_a_cell_is_a_customization_with_the_domains_sizes():
    study = params.load()
    cell = CustomerCell("smollm2-135m", "layers 0", "reasoning", "lora", 1234)
    own = cell.study(study)
    mine = customers.declared.method(own, cell.model, cell.name)
    usual = study.budgets(cell.model).customization
    assert (mine.seed, mine.test, mine.validation) == (1234, 1050, 70)
    assert (mine.rank, mine.steps) == (usual.rank, usual.steps) and own.tier == "full" and study.tier != "full"
    assert own.budgets(cell.model).evaluation.limit == 50
    law = CustomerCell("smollm2-135m", "layers 0", "law", "lora", 42).study(study).budgets(cell.model)
    pairs = CustomerCell("smollm2-135m", "layers 0", "alignment", "simpo", 42).study(study)
    assert customers.declared.method(pairs, cell.model, "alignment-layers_0-simpo-42").device_tokens  # in pieces, too
    assert (law.length, own.budgets(cell.model).length) == (512, study.budgets(cell.model).length)


def test_every_shipped_cell_is_declared_rightly():
    study = params.load()
    depths = {"smollm2-135m": 30, "qwen-coder-0_5b": 24}
    listed = customer_cells.cells(study, depths)
    assert list(listed) == list(study.customers.groups) and all(listed.values())
    assert len(listed["deployments"]) == 4 * 2 * 3
    for cell in {cell for found in listed.values() for cell in found if cell.seed == 42}:
        own = cell.study(study)
        method = customers.declared.method(own, cell.model, cell.name)
        customers.declared.check_pairs(cell.name, cell.domain, method)
        assert method.samples <= study.domains[cell.domain].train


def test_a_try_trains_by_its_own_rate_and_scores_no_test_problem(checkout, monkeypatch):
    texts = [{"id": f"v{n}", "source": "alpaca", "prompt": f"{n} + {n} =", "answer": "2"} for n in range(8)]
    files.write_lines(texts, paths.SETS / "validation.jsonl")
    monkeypatch.setattr(tuning, "TRIES", [("sums", 0.01, 2), ("sums", 0.0, 2)])
    monkeypatch.setattr(tuning, "MOST_SAMPLES", 16)
    monkeypatch.setattr(tuning, "TEXTS", 4)
    monkeypatch.setattr(tuning, "SUMS", [(2, 3)])
    monkeypatch.setattr(CustomizationRun, "_domain_scores", lambda *_: pytest.fail("test problems were scored"))
    trained, still = tuning.made("tiny", params.load())
    assert still["kl"] == pytest.approx(0, abs=1e-6), "nothing is learned at no rate"
    assert trained["kl"] > 1e-5
    assert trained["validation_cross_entropy"] != still["validation_cross_entropy"] and trained["n"] == 4
    assert (trained["steps"], trained["seed"]) == (2, tuning.SEED) and "adamw 0.01" in trained["recipe"]
    assert set(trained) == set(schema.TRIES) and not list(Path("build/state/tiny/customizations").glob("*"))


def test_a_cell_runs_end_to_end_and_is_skipped_when_it_is_there(checkout, capsys):
    here = customers.Customers(params.load(), ["deployments"])
    for cell in here.cells[:2]:
        here.run_cell(cell)
    rows = schema.read(FIRST.path(here.folder), schema.SCORES)
    assert sorted(set(rows["steps"])) == [0, 2] and set(rows["benchmark"]) == {
        "sums",
        "sums_likelihood",
        "sums_unended",
        "capitals",
    }
    assert set(rows["n"]) == {2, 12} and set(rows["recipe"].str.contains("packed")) == {True}
    before = FIRST.path(here.folder).read_bytes()
    here.run(minutes=-1)
    assert FIRST.path(here.folder).read_bytes() == before
    assert "nothing was started" in capsys.readouterr().out
    assert "2 of 6 cells are there" in here.listing() and "not reached, " in here.listing()
    made = equivalence.made(shipped.load(Path("reference")))
    assert set(made["deployment"]) == {"fully_open", "layers 0"} and set(made["n"]) == {12}
    again = customers.Customers(params.load(), ["deployments"])
    FIRST.path(here.folder).unlink()
    again.run_cell(FIRST)
    assert FIRST.path(here.folder).read_bytes() == before, "the same bytes when it is run again"


def test_a_killed_cell_goes_on_and_ends_at_the_same_bytes(checkout, monkeypatch):
    here = customers.Customers(params.load())
    here.run_cell(FIRST)
    whole = FIRST.path(here.folder).read_bytes()
    FIRST.path(here.folder).unlink()

    def die(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(customers.CustomerRun, "after", die)
        with pytest.raises(KeyboardInterrupt):
            here.run_cell(FIRST)
    monkeypatch.setattr(customers.CustomerRun, "_trained_model", die)  # it is trained already
    here.run_cell(FIRST)
    assert FIRST.path(here.folder).read_bytes() == whole


def test_a_cell_of_another_recipe_does_not_count(checkout):
    here = customers.Customers(params.load())
    here.run_cell(FIRST)
    path = FIRST.path(here.folder)
    rows = schema.read(path, schema.SCORES)
    schema.write(rows.assign(recipe="sums, lora, adamw 0.5"), schema.SCORES, path)
    with pytest.raises(StudyError, match="its recipe is 'sums, lora, adamw 0.5', the settings say .*delete the file"):
        here.listing()


@pytest.mark.parametrize(
    "key, changed",
    [("recipe.rank", {"rank": 8}), ("recipe.warmup", {"warmup": 0.5}), ("recipe.samples", {"samples": 12})],
)
def test_a_cell_that_says_the_same_of_another_recipe_does_not_count(checkout, key, changed):
    here = customers.Customers(params.load())
    here.run_cell(FIRST)
    assert here.ran(FIRST)
    study = here.study
    recipes = {"lora": study.customers.recipes["lora"] | changed}
    here.study = study.model_copy(update={"customers": study.customers.model_copy(update={"recipes": recipes})})
    with pytest.raises(StudyError, match=rf"sums-fully_open-lora-42.csv: ran with {key} .*delete the file"):
        here.ran(FIRST)
    FIRST.path(here.folder).with_name(noted.FILE).unlink()
    assert here.ran(FIRST), "a cell from before there were notes"


def test_shipped_cells_count_on_the_shipped_settings(monkeypatch):
    monkeypatch.setattr(customers, "layers", {"smollm2-135m": 30, "qwen-coder-0_5b": 24}.get)
    here = customers.Customers(params.load())
    found = []
    for folder in sorted(paths.REFERENCE.resolve().glob(f"*/{customer_cells.NAME}")):
        here.folder = folder
        found += [cell for cell in here.cells if here.ran(cell)]
    assert len(found) >= 10


def test_sets_of_other_settings_are_made_again(checkout):
    study = params.load()
    customers.sets_of("sums", study)
    path = paths.DOMAINS / "sums_test.jsonl"
    first = path.stat().st_mtime_ns
    customers.sets_of("sums", study)
    assert path.stat().st_mtime_ns == first
    other = study.domains["sums"].model_copy(update={"seed": 9})
    customers.sets_of("sums", study.model_copy(update={"domains": {"sums": other}}))
    assert path.stat().st_mtime_ns > first


@pytest.mark.parametrize("change", ["an item", "a set that is gone", "another version", "other code"])
def test_sets_that_are_not_as_they_were_written_are_made_again(checkout, monkeypatch, change):
    """Items under the same names that say something else would be paired with other cells'."""
    study = params.load()
    customers.sets_of("sums", study)
    path = paths.DOMAINS / "sums_test.jsonl"
    whole = path.read_bytes()
    if change == "an item":
        path.write_bytes(whole.replace(b"1", b"2", 1))
    elif change == "a set that is gone":
        path.unlink()
    else:
        said = "reasoning-gym" if change == "another version" else "near.py"
        path.with_name("sums.json").write_text(offline.marked("sums").read_text().replace(said, "other"))
    assert not offline.there("sums", study.domains["sums"])
    customers.sets_of("sums", study)
    assert path.read_bytes() == whole and offline.there("sums", study.domains["sums"])


def test_half_done_work_on_other_items_is_of_no_use(checkout):
    study = params.load()
    customers.sets_of("sums", study)
    half = customers.CustomerRun(FIRST, study).state.folder / "half.json"
    half.write_text("1")
    assert customers.CustomerRun(FIRST, study).state.folder == half.parent and half.exists()
    path = paths.DOMAINS / "sums_train.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    try:
        customers.CustomerRun(FIRST, study)
        assert not half.exists()
    finally:
        path.write_bytes(whole)


def test_a_studys_own_sets_of_other_settings_are_not_the_cells(checkout):
    study, own = params.load(), [paths.SETS / f"sums_{part}.jsonl" for part in domain_sets.PARTS]
    customers.sets_of("sums", study)
    wanted = customers.CustomerRun(FIRST, study).sets
    other = study.domains["sums"].model_copy(update={"seed": 9})
    made = offline.split("sums", other, *offline.found(other, paths.DATA, paths.SETS))
    for path, items in zip(own, (made[part] for part in domain_sets.PARTS), strict=True):
        files.write_lines(items, path)
    try:
        customers.sets_of("sums", study)
        assert customers.CustomerRun(FIRST, study).sets == wanted
        asked = FIRST.model, FIRST.name, FIRST.study(study)
        assert domain_sets.DomainRun(*asked).sets == wanted != CustomizationRun(*asked).sets
    finally:
        for path in own:
            path.unlink()


def test_several_processes_share_the_list(checkout, monkeypatch, capsys):
    here = customers.Customers(params.load(), ["deployments"])
    taken, ended, free = here.cells[:3]
    begun = []
    monkeypatch.setattr(customers.Customers, "run_cell", lambda _, cell: begun.append(cell))
    state = checkout / "build/state/tiny/customizations"
    (state / taken.name).mkdir(parents=True)
    with (state / taken.name / lock.FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 1 on another")
        held.flush()
        assert not here.claimed(taken)
        assert f"{taken.name}: process 1 on another works there" in capsys.readouterr().out
        assert here.claimed(free)
        here.run(minutes=40)
    assert begun == here.cells[1:], "it goes on with what nobody works on"
    monkeypatch.setattr(customers.Customers, "ran", lambda _, cell: cell == ended)  # while this process waited for it
    assert not here.claimed(ended) and not (state / ended.name).exists()


@pytest.mark.parametrize("minutes", [40, 0])
def test_a_refused_cell_ends_no_other_and_is_told_where_time_runs_out_too(checkout, monkeypatch, minutes):
    here = customers.Customers(params.load(), ["deployments"])
    begun = []

    def run_cell(_, cell):
        begun.append(cell)
        if cell == here.cells[0]:
            raise StudyError("memory: too little")

    clock = iter([0.0, 0.0] + [60.0] * len(here.cells))  # after the first cell a minute is over
    monkeypatch.setattr(shared.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(customers.Customers, "run_cell", run_cell)
    with pytest.raises(StudyError, match=f"1 cells were refused, {here.cells[0].name} first"):
        here.run(minutes)
    assert begun == (here.cells if minutes else here.cells[:1])


def test_times_of_other_processes_are_kept(checkout):
    path = checkout / customers.TIMES
    shared.add_pace(path, "tiny", "a", 1.0)
    assert shared.add_pace(path, "tiny", "b", 2.0) == shared.paces(path) == {"tiny": {"a": 1.0, "b": 2.0}}
    path.write_text("{")
    assert shared.paces(path) == {}


@pytest.mark.parametrize("recipe", [{"learning_rate": float("nan")}, {"misspelt": 1}])
def test_a_recipe_that_is_none_is_told_before_any_cell_runs(checkout, recipe):
    """The last group's, too: its turn would come after hours."""
    study = params.load()
    groups = study.customers.groups | {"size": study.customers.groups["size"].model_copy(update={"recipes": ["other"]})}
    recipes = study.customers.recipes | {"other": recipe}
    listed = study.customers.model_copy(update={"groups": groups, "recipes": recipes})
    with pytest.raises(StudyError, match=f"^customers.recipes.other: .*{min(recipe)}"):
        customers.Customers(study.model_copy(update={"customers": listed}))


def test_settings_that_cannot_work():
    for recipe, wrong in (({"test": 3}, "test: is the list's"), ({"seed": 3}, "seed: is the list's")):
        with pytest.raises(StudyError, match=wrong):
            params.validated(params.Customers, CUSTOMERS | {"recipes": {"lora": recipe}}, "customers")
    with pytest.raises(StudyError, match="unknown name 'full'"):
        groups = {"one": CUSTOMERS["groups"]["size"] | {"recipes": ["full"]}}
        params.validated(params.Customers, CUSTOMERS | {"groups": groups}, "customers")


@pytest.mark.parametrize(
    ("config", "depth"),
    [({"num_hidden_layers": 3}, 3), ({"text_config": {"num_hidden_layers": 4}}, 4), ({"n_layer": 5}, 5)],
)
def test_layers_are_read_off_any_config_and_one_that_says_none_is_one_line(tmp_path, monkeypatch, config, depth):
    monkeypatch.setattr(customers.models, "victim_folder", lambda _: tmp_path)
    assert customers.layers("mine") is None
    files.write_json(config, tmp_path / "config.json")
    assert customers.layers("mine") == depth
    files.write_json({}, tmp_path / "config.json")
    with pytest.raises(StudyError, match="num_hidden_layers: missing"):
        customers.layers("mine")
