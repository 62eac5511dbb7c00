"""What published adapters and a public base give a thief: cells, one of each kind on a tiny model, the table."""

import copy
import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from solid_utils.attacks import declared as attack_settings
from solid_utils.core import files, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.grid import adapter_cells, adapter_run, published_adapters
from solid_utils.grid.adapter_cells import AdapterCell
from solid_utils.model import models
from solid_utils.report.tables import published_adapters as table
from solid_utils.settings import params

LISTED = {
    "model": "tiny", "tier": "tiny", "minutes": 40, "seed": 42, "evaluation": {},
    "tunings": {"lora": {"steps": 2, "samples": 8, "validation": 2, "learning_rate": 0.01}},
    "attacks": {
        "map": {"attack": "stitch", "queries": 20, "previous": 0},
        "sem_base": {"attack": "sem", "queries": 8, "epochs": 1, "start": "public_base"},
    },
    "groups": {
        "customer": {
            "secured": ["place 1/2"], "known": ["untouched", "hidden", "published"], "domains": [["math"]],
            "tunings": ["lora"], "attacks": ["map"],
        },
        "several": {
            "secured": ["place 1/2"], "known": ["published"], "domains": [["math", "finance"]], "tunings": ["lora"],
            "attacks": ["map"],
        },
        "base": {
            "secured": ["place 0"], "known": ["base"], "domains": [["math"]], "tunings": ["lora"],
            "attacks": ["sem_base"],
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkout with a tiny victim and made-up sets, two of them a customer's."""
    folder, stream = tmp_path_factory.mktemp("adapters"), random.Random(0)
    shutil.copytree("configs", folder / "configs")
    shutil.copy("params.yaml", folder)
    settings = yaml.safe_load(Path("params.yaml").read_text()) | {"threads": 1}
    settings["data"]["customization"]["hub"] = ["finance"]
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    (folder / "configs" / "customization.yaml").write_text(yaml.safe_dump({"published_adapters": LISTED}))
    words = ["the", "cat", "of", "a", "red", "house", "sat", "on", "some", "green", "hill", "and", "sang"]
    parts = [f"{domain}_{part}" for domain in ("math", "finance") for part in ("train", "validation", "test")]
    for name in ("attack", "validation", "evaluation", "apart_c4", "apart_code", *parts):
        texts = [" ".join(stream.choices(words, k=12)) for _ in range(24)]
        items = [
            {"id": f"{name}-{n}", "source": "alpaca", "prompt": text, "answer": text[:20], "text": text}
            for n, text in enumerate(texts)
        ]
        files.write_lines(items, folder / paths.SETS / f"{name}.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        models.materialise(models.victim_folder("tiny"), params.load().model("tiny"))
    return folder


@pytest.fixture(scope="module")
def ran(folder) -> published_adapters.PublishedAdapters:
    """Every cell of the list, run once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        here = published_adapters.PublishedAdapters(params.load())
        here.run(minutes=40)
    return here


def rows(here, cell: str, benchmark: str = "evaluation_c4") -> pd.Series:
    found = schema.read(here.folder / "tiny" / f"{cell}.csv", schema.ADAPTERS)
    return found.set_index("benchmark").loc[benchmark]


def test_every_shipped_cell_is_declared_rightly():
    study = params.load()
    found = adapter_cells.cells(study, 30)
    assert len(found["base"]) == 8 * 3 and len(found["customer"]) == 3 * 3 * 2 and len(found["several"]) == 2 * 2 * 2
    for cell in {cell for cells in found.values() for cell in cells}:
        own = cell.study(study)
        recipe = published_adapters.attack_settings.recipe(own, cell.model, cell.name)
        assert recipe.queries == study.published_adapters.attacks[cell.attack]["queries"]
        for one in cell.tunings:
            declared = published_adapters.declared.method(one.study(study), one.model, one.name)
            assert declared.samples >= declared.total_steps(declared.samples) * declared.batch


def test_a_thief_has_what_the_cell_says(ran, folder, monkeypatch):
    """By its tensors: the secret part never, the customer's open part only where the adapter is known."""
    monkeypatch.chdir(folder)
    study = params.load()
    plain = dict(models.load_victim("tiny", study.model("tiny"))[0].named_parameters())
    delta = folder / "delta.safetensors"
    changed = models.load_victim("tiny", study.model("tiny"))[0]
    open_name = next(name for name in plain if ".6." in name and name.endswith("q_proj.weight"))
    secret = next(name for name in plain if ".3." in name and name.endswith("q_proj.weight"))
    with torch.no_grad():
        dict(changed.named_parameters())[open_name].add_(1)
    models.save_delta(changed, models.load_victim("tiny", study.model("tiny"))[0], delta)
    for known, has_it in (("hidden", False), ("published", True)):
        cell = AdapterCell("tiny", "layers 3", known, "lora", ("math",), "map", 42)
        run = adapter_run.AdapterRun(cell, study, [delta])
        thief = dict(run.handed_out().named_parameters())
        assert thief[secret].isnan().all()
        assert torch.equal(thief[open_name], plain[open_name]) != has_it
        assert torch.equal(dict(run.victim.named_parameters())[open_name], thief[open_name]) == has_it
        assert run.distance() == 0


def test_each_kind_of_cell_ends_with_its_rows(ran, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert "5 of 5 cells are there" in ran.listing()
    several = rows(ran, "map-layers_3-published-lora-math+finance-42")
    assert several["deployments"] == 2 and several["queries"] == 20 and several["distance"] == 0
    base = rows(ran, "sem_base-layers_0-base-lora-math-42")
    assert base["start"] == "public_base" and 0 < base["distance"] < 1
    assert base["agreement_start"] > 0.5, "a vendor who barely moved has published nearly all"
    assert rows(ran, "map-layers_3-untouched-42")["tuned"] == "none"
    assert "2 steps" in base["tuned"] and base["kl_start"] > 0


def test_a_cell_of_another_recipe_does_not_count_and_tunings_are_forgotten(ran, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert not list(Path("build/state/tiny/customizations").glob("*/")), "no cell needs them any more"
    path = ran.cells[1].path(ran.folder)
    kept = path.read_bytes()
    found = schema.read(path, schema.ADAPTERS)
    schema.write(found.assign(tuned="math, lora, another"), schema.ADAPTERS, path)
    with pytest.raises(StudyError, match="its tuned is 'math, lora, another', the settings say"):
        ran.listing()
    path.write_bytes(kept)


def test_a_cell_that_says_the_same_of_other_settings_does_not_count(ran, folder, monkeypatch):
    monkeypatch.chdir(folder)
    listed = ran.study.published_adapters
    tuned = next(cell for cell in ran.cells if cell.known == "hidden")
    untouched = next(cell for cell in ran.cells if cell.known == "untouched")
    other = listed.model_copy(update={"tunings": {"lora": listed.tunings["lora"] | {"rank": 2}}})
    here = copy.copy(ran)
    here.study = ran.study.model_copy(update={"published_adapters": other})
    assert here.ran(untouched)
    with pytest.raises(StudyError, match=r"ran with tunings.math.rank 4, the settings say 2; delete the file"):
        here.ran(tuned)


def test_shipped_cells_count_on_the_shipped_settings(monkeypatch):
    monkeypatch.setattr(published_adapters, "layers", lambda _: 30)
    here = published_adapters.PublishedAdapters(params.load())
    found = []
    for here.folder in sorted(paths.REFERENCE.resolve().glob(f"*/{adapter_cells.NAME}")):
        found += [cell for cell in here.cells if here.ran(cell)]
    assert len(found) >= 20


def test_a_killed_cell_goes_on_to_the_same_bytes(ran, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cell = next(cell for cell in ran.cells if cell.known == "base")
    whole = cell.path(ran.folder).read_bytes()
    cell.path(ran.folder).unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(adapter_run.AdapterRun, "end_scores", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ran.run_cell(cell)
    monkeypatch.setattr(adapter_run.AdapterRun, "optimised", None)  # it is trained already
    ran.run_cell(cell)
    assert cell.path(ran.folder).read_bytes() == whole


def test_the_table_compares_with_the_untouched_deployment_and_the_untouched_base(ran, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cells = table.load(Path("reference"))
    cells.loc[cells["known"] == "untouched", "agreement"] = 0.25  # so tiny a model agrees alike whatever is known
    made = table.made(cells).set_index("cell")
    base = rows(ran, "sem_base-layers_0-base-lora-math-42")
    assert made.loc[base["cell"], "reference_c4"] == base["agreement_start"]
    untouched = made.loc["map-layers_3-untouched-42"]
    hidden = made.loc["map-layers_3-hidden-lora-math-42"]
    assert untouched["gain_c4"] == 0 and hidden["reference_c4"] == untouched["c4"] == 0.25
    assert hidden["gain_c4"] == pytest.approx(hidden["c4"] - untouched["c4"])
    sentence = table.TABLE.sentence(made.reset_index())
    assert "a public base changes agreement on web text by" in sentence and "not run" not in sentence
    none = table.made(table.load(folder / "nowhere"))
    assert none.empty and list(none.columns) == table.COLUMNS


@pytest.mark.parametrize("key, where", [("tunings", "tunings.lora"), ("attacks", "attacks.map")])
def test_a_recipe_that_is_none_is_told_before_any_cell_runs(ran, folder, monkeypatch, key, where):
    monkeypatch.chdir(folder)
    study = params.load()
    said = getattr(study.published_adapters, key)
    name = where.split(".")[1]
    listed = study.published_adapters.model_copy(update={key: said | {name: said[name] | {"misspelt": 1}}})
    with pytest.raises(StudyError, match=f"^published_adapters.{where}: .*misspelt"):
        published_adapters.PublishedAdapters(study.model_copy(update={"published_adapters": listed}))


def test_an_option_that_comes_later_outdates_no_cell(ran):
    """A note holds what was said of the attack; a default that nobody said is none of it."""
    for cell in ran.cells:
        said = ran.settings(cell)["attack"]
        assert said["attack"] in ("stitch", "sem") and said["secured"] == cell.secured
        fields = attack_settings.KINDS[said["attack"]].model_fields
        assert all(fields[name].is_required() or said[name] != fields[name].default for name in said)


def test_settings_that_cannot_work():
    wrong = {"several": LISTED["groups"]["several"] | {"known": ["hidden"]}}
    with pytest.raises(StudyError, match="several deployments are attacked with their adapters known"):
        params.validated(params.PublishedAdapters, LISTED | {"groups": wrong}, "published_adapters")
    with pytest.raises(StudyError, match=r"attacks.map: no queries; say which attack"):
        params.validated(
            params.PublishedAdapters, LISTED | {"attacks": {"map": {"attack": "stitch"}}, "groups": {}}, ""
        )
