"""Shipped against re-run: equal digits on the same machine, ranges elsewhere."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from solid_utils.core import files, folders, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import compare, headlines, results
from solid_utils.report.lookups import Lookups
from tests.synthetic import ATTACKS, write_study

HERE = {"cpu": "Fast(R) CPU 9 @ 2 GHz", "units": "avx512f avx512_bf16", "threads": "2", "torch": "1.0"}


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A results/ folder that was shipped from this very machine."""
    shutil.copy("params.yaml", tmp_path)
    shutil.copytree("configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare.machine, "describe", lambda threads: dict(HERE))
    write_study(Path("results"))
    for name in ("report.html", "figures/a.png", "tables/attacks.csv", "metrics.json"):
        Path("results", name).parent.mkdir(exist_ok=True)
        Path("results", name).write_text("{}")
    compare.ship()
    return Path("reference/fast-r-cpu-9-2-ghz-avx512f-avx512-bf16-2-threads")


def rerun_scores(run: str, metric: str, change: float) -> None:
    """Change one final score of the re-run."""
    path = Path("results/runs/toy/attacks") / run / "scores.csv"
    rows = schema.read(path, schema.SCORES)
    rows.loc[(rows["metric"] == metric) & (rows["steps"] > 0), "value"] += change
    schema.write(rows, schema.SCORES, path)


def status(figure: str, run: str, same_machine: bool, shipped: Path) -> str:
    arguments = headlines.headline(results.load(shipped)), headlines.headline(results.load(Path("results")))
    table = headlines.judged(*arguments, same_machine)
    return table[(table["figure"] == figure) & (table["run"] == run)]["status"].item()


def test_shipping_copies_tables_and_numbers_but_no_pictures(study):
    names = {str(path.relative_to(study)) for path in study.rglob("*") if path.is_file()}
    assert {"machine.json", "metrics.json", "tables/attacks.csv", "runs/toy/dd/search.json"} <= names
    assert "runs/toy/attacks/layer0-sem/scores.csv" in names
    assert not any(name.endswith((".png", ".html")) for name in names)
    assert json.loads((study / "machine.json").read_text()) == HERE


def test_shipping_again_leaves_nothing_stale(study):
    shutil.rmtree("results/runs/toy/attacks/layer0-sem")
    compare.ship()
    assert not (study / "runs/toy/attacks/layer0-sem").exists()


def test_shipping_again_keeps_what_lies_beside_the_run(study):
    planned = dict.fromkeys(schema.PLAN, "hours of work") | {"queries": 1, "seed": 42}
    schema.write([planned], schema.PLAN, study / "grid" / "toy" / "plan.csv")
    others = ["beyond", "scale", "customization", "of another study"]
    for name in others:
        (study / name).mkdir()
        (study / name / "cell.csv").write_text("hours of work")
    (study / "NOTE").write_text("mine")
    compare.ship()
    assert results.load(study).planned["cell"].tolist() == ["hours of work"]
    assert {(study / name / "cell.csv").read_text() for name in others} == {"hours of work"}
    assert (study / "NOTE").read_text() == "mine"


@pytest.mark.parametrize("change, said", [("gone", "no scores.csv, so it did not end"), ("other", "rows of 'other'")])
def test_half_a_run_or_another_models_is_not_shipped(study, change, said):
    before, path = tree(study), Path("results/runs/toy/attacks/layer0-sem/scores.csv")
    path.write_text(path.read_text().replace("\ntoy,", "\nother,")) if change == "other" else path.unlink()
    with pytest.raises(StudyError, match=said):
        compare.ship()
    assert tree(study) == before


def test_what_is_made_anew_is_what_a_run_has(study):
    """So that a new kind of result file is not kept from an older run."""
    assert sorted(path.name for path in study.iterdir()) == list(compare.OF_A_RUN)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shipping_does_not_cross_disks(study, monkeypatch):
    rename = os.rename

    def across(source, target, **_):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, across)
    Path("results/metrics.json").write_text('{"new": 1}')
    compare.ship()
    assert json.loads((study / "metrics.json").read_text()) == {"new": 1}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("owner, call", [(files, "copy"), (shutil, "copytree"), (folders, "swap")])
def test_an_error_while_shipping_leaves_the_older_run(owner, call, error, study, monkeypatch):
    (study / "grid").mkdir()
    before = tree(Path("reference"))

    def ends(*_, **__):
        raise error

    monkeypatch.setattr(owner, call, ends)
    with pytest.raises((StudyError, KeyboardInterrupt)):
        compare.ship()
    assert tree(Path("reference")) == before
    assert len(list(Path("reference").iterdir())) == 1


def test_what_a_killed_report_left_is_not_shipped(study):
    files.write_text("{}", Path("results/new.partial-1/metrics.json"))
    compare.ship()
    assert not list(study.glob("new*"))


def test_the_same_run_is_ok_everywhere(study, capsys):
    assert compare.compare()
    out = capsys.readouterr().out
    assert "same machine type: equal digits" in out
    assert " off" not in out


def test_every_headline_figure_is_compared(study):
    table = headlines.headline(results.load(study))
    assert not table.duplicated(headlines.KEY).any()
    of_run = set(table[table["run"] == "layer0-sem"]["figure"])
    fidelity = {"agreement", "kl", "cross_entropy"}
    apart = {f"evaluation_{texts}, {name}" for texts in ("c4", "code") for name in fidelity}
    assert of_run == fidelity | apart | {f"{n}, acc" for n in ("hellaswag", "sums", "mmlu", "truthfulqa")}
    assert set(table["run"]) >= {"victim", *ATTACKS, "fully_open-math", "prefix", "single", "all", "empty", "search"}
    assert {"l*, xavier", "l*, normal_0.02"} <= set(table["figure"])


def test_fidelity_on_another_set_of_prompts_has_its_own_figure(study):
    found = results.load(study)
    other = found.attacks[found.attacks["benchmark"] == "evaluation"].assign(benchmark="c4")
    table = headlines.headline(dataclasses.replace(found, attacks=pd.concat([found.attacks, other])))
    assert not table.duplicated(headlines.KEY).any()
    assert {"agreement", "c4, agreement"} <= set(table["figure"])


def test_files_of_another_schema_are_refused_in_one_line(tmp_path):
    (tmp_path / "scores.csv").write_text("model,value\ntoy,0.5\n")
    with pytest.raises(StudyError, match=r"scores.csv: columns do not fit core/schema.py \('seed'\), so another vers"):
        schema.read(tmp_path / "scores.csv", ["model", "value", "seed"])


def test_on_the_same_machine_digits_must_be_equal(study, capsys):
    rerun_scores("layer0-sem", "agreement", 1e-9)
    assert status("agreement", "layer0-sem", True, study) == "off"
    assert status("agreement", "layer0-sem", False, study) == "ok"
    assert not compare.compare()
    assert "3 off" in capsys.readouterr().out


@pytest.mark.parametrize("change, expected", [(0.042, "ok"), (-0.042, "ok"), (0.043, "off"), (-0.043, "off")])
def test_elsewhere_three_combined_standard_errors_are_allowed(study, change, expected):
    rerun_scores("layer0-sem", "agreement", change)  # both errors are 0.01, so 3 x 0.01414 = 0.0424
    assert status("agreement", "layer0-sem", False, study) == expected


@pytest.mark.parametrize("stderr", [0.0, float("nan")])
@pytest.mark.parametrize("value, expected", [(0.549, "ok"), (0.451, "ok"), (0.551, "off")])
def test_without_standard_errors_a_tenth_is_allowed(stderr, value, expected):
    row = {"run": "x", "value": 0.5, "value_mine": value, "stderr": stderr, "stderr_mine": stderr}
    row |= {"budget": "b", "budget_mine": "b"}
    assert headlines.judge(next(pd.DataFrame([row]).itertuples()), False)[1] == expected


def test_another_l_star_is_a_warning_elsewhere_and_off_here(study):
    path = Path("results/runs/toy/dd/search.json")
    found = json.loads(path.read_text())
    found["xavier"]["l_star"] = 2
    path.write_text(json.dumps(found))
    assert status("l*, xavier", "search", False, study) == "warning"
    assert status("l*, xavier", "search", True, study) == "off"


def test_other_budgets_and_missing_runs_are_not_judged(study):
    longer = ATTACKS["solid-ft_all"][:4] + (60,) + ATTACKS["solid-ft_all"][5:]
    shutil.rmtree("results")
    write_study(Path("results"), attacks={"solid-ft_all": longer})
    assert status("agreement", "solid-ft_all", True, study) == "other budget or version"
    assert status("agreement", "layer0-sem", True, study) == "not re-run"
    assert status("agreement", "victim", True, study) == "ok"


def test_scores_by_another_version_of_a_benchmark_are_not_judged(study):
    path = Path("results/runs/toy/victim/scores.csv")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[rows["benchmark"] == "hellaswag", "task_version"] = "9"
    rows.to_csv(path, index=False)
    (metric,) = set(rows[rows["benchmark"] == "hellaswag"]["metric"])
    assert status(f"hellaswag, {metric}", "victim", False, study) == "other budget or version"
    assert status("agreement", "victim", True, study) == "ok"


def test_the_run_of_the_same_machine_type_is_preferred(study):
    other = study.with_name("aaa")
    shutil.copytree(study, other)
    (other / "machine.json").write_text(json.dumps(HERE | {"threads": "64"}))
    assert compare.shipped_run(HERE) == study
    assert compare.shipped_run(HERE | {"torch": "9"}) == other


def test_exit_status(study, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare"])
    compare.main()
    rerun_scores("layer0-sem", "kl", 0.5)
    with pytest.raises(SystemExit) as stopped:
        compare.main()
    assert stopped.value.code == 1


@pytest.mark.parametrize("gone, message", [("results", "no results there"), ("reference", "no shipped run there")])
def test_nothing_to_compare_is_one_line(study, gone, message):
    shutil.rmtree(gone)
    with pytest.raises(StudyError, match=message) as error:
        compare.compare()
    assert "\n" not in str(error.value)


def test_pages_are_about_the_run_with_a_grid_and_name_what_another_machine_found(study):
    """The other folder stands first in the alphabet; only the one with a grid is what pages are about."""
    other = study.with_name("aaa")
    shutil.copytree(study, other)
    (study / "grid").mkdir()
    assert results.shipped() == [study, other]
    path = other / "runs/toy/attacks/layer0-sem/scores.csv"
    rows = schema.read(path, schema.SCORES)
    wrong = (rows["metric"] == "kl") & (rows["benchmark"] == "evaluation") & (rows["steps"] > 0)
    assert wrong.sum() == 1
    rows.loc[wrong, "value"] *= 10
    schema.write(rows, schema.SCORES, path)
    told = Lookups(study, study / "tables")
    counts = told.rerun_counts()
    assert [(one["run"], one["figure"]) for one in told.rerun_off()] == [("layer0-sem", "kl")]
    assert counts["off"] == 1 and counts["compared"] == counts["ok"] + 1 and told.rerun_folder() == f"{other}/"
    same = told.rerun("layer0-sem", "agreement")
    assert same["shipped"] == same["rerun"]
    with pytest.raises(StudyError, match="0 of layer0-sem, nothing"):
        told.rerun("layer0-sem", "nothing")
    shutil.rmtree(other)
    with pytest.raises(StudyError, match="0 other shipped runs; a document needs exactly one"):
        Lookups(study, study / "tables").rerun_counts()
