"""The scale study's cells in the tables, and what the hypotheses come to, on cells whose numbers are known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.metrics import metrics
from solid_utils.metrics.paired_ranks import spearman
from solid_utils.report import catalogue, hypotheses, hypothesis_width, outcome, scale
from solid_utils.report.tables.scale import exact
from solid_utils.settings import params, reading
from tests.synthetic import run_columns

TEXTS, TOKENS = 20, 50
FLOOR = 0.2
ASKED = params.load().hypotheses


def write_cell(folder: Path, secured: str, attack: str, queries: int, seed: int, kl: list[float], share: float) -> str:
    """A cell with `share` of tokens agreeing on every set, and these KLs of C4's texts; returns its name."""
    cell = f"{attack}-{secured}-ours-{queries}-{seed}".replace(" ", "_")
    model = folder.name
    run = run_columns(model, secured, secured, attack, 16, 0, "full") | {"seed": seed}
    rows, texts = [], []
    for steps, factor in ((0, 3.0), (7, 1.0)):
        for benchmark in ("evaluation", "evaluation_c4", "evaluation_code"):
            agreement = share if steps else 0.01
            values = {"agreement": agreement, "kl": factor * float(np.mean(kl)), "greedy_match": share / 2}
            for metric, value in values.items():
                outcome = {"benchmark": benchmark, "domain": "fidelity", "shots": 0, "metric": metric, "value": value}
                outcome |= {"stderr": 0.01, "n": TEXTS * TOKENS, "chance": None, "floor": None, "task_version": "1.0"}
                rows.append(run | {"steps": steps} | outcome | {"forward_tokens": 2048, "libraries": "torch 2"})
            for number, one in enumerate(kl):
                text = {"model": model, "deployment": secured, "attack": attack, "seed": seed, "steps": steps}
                text |= {"benchmark": benchmark, "item": f"{benchmark}-{number}", "tokens": TOKENS}
                texts.append(text | {"agreeing": round(agreement * TOKENS), "kl": factor * one})
    schema.write(rows, schema.SCORES, folder / f"{cell}.csv")
    schema.write(texts, schema.TEXTS, folder / f"{cell}{paths.ITEMS_END}")
    return cell


def write_model(reference: Path, model: str, kls: dict[str, float], share: dict[str, float], noted: bool) -> Path:
    """Cells of SEM with 400 queries at these sets, two seeds each; `noted`: the question was there before."""
    folder, stream, cells = reference / "some-machine" / "scale" / model, np.random.default_rng(0), []
    for secured, kl in kls.items():
        for seed in (42, 7):
            by_text = (kl + 0.01 * stream.standard_normal(TEXTS)).tolist()
            cells.append(write_cell(folder, secured, "sem", 400, seed, by_text, share.get(secured, 0.8)))
    floor = {"model": model, "revision": "0", "tier": "full", "dtype": "float32", "predictor": "trigram"}
    sets = ("evaluation", "evaluation_c4", "evaluation_code")
    floors = [floor | {"benchmark": name, "agreement": FLOOR, "n": TEXTS * TOKENS} for name in sets]
    schema.write(floors, schema.FLOOR, folder / paths.FLOOR_FILE)
    if noted:
        rows = [{"cell": cell, "sha256": reading.asked(), "commit": "cd"} for cell in cells]
        schema.write(rows, schema.REGISTERED, folder / paths.HYPOTHESES_FILE)
    return folder


def test_a_matrix_that_was_solved_for_is_broken_with_so_many_tokens(tmp_path):
    """Layers stand for the matrices here."""
    folder = write_model(tmp_path, NEW, {"layers 0": 2.0}, {}, noted=False)
    for secured, share, error in (("layers 1", 0.99, 1e-3), ("layers 2", 0.6, 0.4)):
        cell = write_cell(folder, secured, "least_squares", 20, 42, [0.01] * TEXTS, share)
        rows = schema.read(folder / f"{cell}.csv", schema.SCORES)
        more = rows[rows["metric"] == "kl"].groupby("steps").head(1).assign(metric="relative_error", value=error)
        more = more.assign(benchmark="weights")
        schema.write(pd.concat([rows, more]).assign(tokens=576), schema.SCORES, folder / f"{cell}.csv")
    points = scale.points(scale.load(tmp_path).cells).set_index("secured")
    assert points["relative_error"].to_dict() == pytest.approx(
        {"layers 0": float("nan"), "layers 1": 1e-3, "layers 2": 0.4}, nan_ok=True
    )
    said = exact(points.reset_index())
    assert "layers 1 is broken with 576 tokens (99.0 % on C4)" in said
    assert "layers 2 is not broken with 576 tokens" in said and exact(points.iloc[:0].reset_index()) == ""


SINGLES = {"layers 0": 2.0, "layers 1": 0.5, "layers 2": 0.3, "layers 3": 0.4, "layers 4": 0.6, "layers 5": 0.7}
NEW = "qwen-coder-1_5b"


def write_dd(folder: Path, values: dict[str, float]) -> None:
    """DD of these sets beside the cells."""
    fixed = {"model": folder.name, "revision": "0", "tier": "small", "dtype": "float32", "kind": "scale"}
    fixed |= {"start": "xavier", "seed": "mean", "stderr": 0.1, "n": 48, "calibrated": None}
    rows = [
        fixed | run_columns(NEW, name, name, "sem", 1, 0, "full") | fixed | {"dd": dd} for name, dd in values.items()
    ]
    schema.write([{key: row[key] for key in schema.DD} for row in rows], schema.DD, folder / paths.DD_FILE)


def elsewhere(folder: Path) -> Path:
    """The same victim's folder on another machine, where public text guesses less."""
    other = folder.parents[2] / "other-machine" / "scale" / folder.name
    floor = pd.read_csv(folder / paths.FLOOR_FILE)
    schema.write(floor.assign(agreement=floor["agreement"] / 2), schema.FLOOR, other / paths.FLOOR_FILE)
    return other


def outcomes(reference: Path) -> dict[str, dict]:
    table = hypotheses.table(ASKED, scale.load(reference))
    return {f"{row['hypothesis']} {row['what']}".strip(): row for row in table.to_dict("records")}


def test_a_point_is_the_mean_of_its_seeds_above_the_floor(tmp_path):
    write_model(tmp_path, NEW, SINGLES, {"layers 0": 0.6}, noted=False)
    points = scale.points(scale.load(tmp_path).cells)
    assert list(points.columns) == scale.POINT_TABLE and len(points) == len(SINGLES)
    first = points[points["secured"] == "layers 0"].iloc[0]
    assert first["c4"] == pytest.approx(0.6) and first["c4_above"] == pytest.approx((0.6 - FLOOR) / (1 - FLOOR))
    assert first["c4_kl"] == pytest.approx(2, abs=0.01) and first["c4_kl_start"] == pytest.approx(6, abs=0.03)
    assert (first["seeds"], first["machine"], first["asked_before"]) == (2, "some-machine", False)


def test_a_draw_on_another_machine_joins_its_point_and_stands_above_its_own_floor(tmp_path):
    folder = write_model(tmp_path, NEW, {"layers 0": 1.0}, {"layers 0": 0.6}, noted=True)
    here = scale.points(scale.load(tmp_path).cells).iloc[0]
    other = elsewhere(folder)
    write_cell(other, "layers 0", "sem", 400, 1234, [1.0] * TEXTS, 0.6)
    (point,) = scale.points(scale.load(tmp_path).cells).to_dict("records")
    assert (here["seeds"], point["seeds"], point["machine"]) == (2, 3, "other-machine + some-machine")
    there = (0.6 - FLOOR / 2) / (1 - FLOOR / 2)
    assert point["c4_above"] == pytest.approx((2 * here["c4_above"] + there) / 3, abs=0.01)
    judged = outcomes(tmp_path)["H1 sem (ours), 400 queries"]
    assert judged["outcome"] == pytest.approx(point["c4_above"], abs=0.002)
    write_cell(folder, "layers 0", "sem", 400, 20, [1.0] * TEXTS, 0.6)
    write_cell(other, "layers 0", "sem", 400, 42, [9.0] * TEXTS, 0.1)
    (again,) = scale.points(scale.load(tmp_path).cells).to_dict("records")
    assert again["seeds"] == 4 and again["c4"] == pytest.approx(0.6), "a draw counts once, where most of its point ran"


@pytest.mark.parametrize(("share", "verdict"), [(0.7, hypotheses.AGAINST), (0.24, hypotheses.FOR), (0.36, "undecided")])
def test_h1_is_judged_by_what_stands_above_the_floor(share, verdict, tmp_path):
    write_model(tmp_path, NEW, SINGLES, {"layers 0": share}, noted=True)
    one = outcomes(tmp_path)["H1 sem (ours), 400 queries"]
    assert one["verdict"] == verdict and one["confirmatory"] and one["n"] == TEXTS
    assert one["outcome"] == pytest.approx((share - FLOOR) / (1 - FLOOR), abs=0.02)


def test_a_cell_that_was_not_asked_before_confirms_nothing(tmp_path):
    write_model(tmp_path, NEW, SINGLES, {}, noted=False)
    write_model(tmp_path, "smollm2-135m", SINGLES, {}, noted=True)
    table = hypotheses.table(ASKED, scale.load(tmp_path))
    judged = table[table["hypothesis"].isin(["H1", "H2"])]
    assert len(judged) == 4 and not judged["confirmatory"].any()


def test_a_cell_that_was_asked_something_else_confirms_nothing(tmp_path):
    folder = write_model(tmp_path, NEW, SINGLES, {}, noted=True)
    assert outcomes(tmp_path)["H2 6 single layers"]["confirmatory"]
    notes = schema.read(folder / paths.HYPOTHESES_FILE, schema.REGISTERED)
    schema.write(notes.assign(sha256="none"), schema.REGISTERED, folder / paths.HYPOTHESES_FILE)
    scale._load.cache_clear()
    assert not outcomes(tmp_path)["H2 6 single layers"]["confirmatory"]


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [((0.7, 0.7, 0.7), "speaks against"), ((0.7, 0.7, 0.24), "speaks against"), ((0.24, 0.24, 0.24), "speaks for"),
     ((0.7, 0.24, 0.24), "undecided"), ((0.7, 0.7), "speaks against"), ((0.24, 0.24), "undecided")],
)  # fmt: skip
def test_h1_is_falsified_by_two_of_the_three_new_victims(shares, verdict, tmp_path):
    for model, share in zip(hypotheses.NEW, shares, strict=False):
        write_model(tmp_path, model, {"layers 0": 1.0}, {"layers 0": share}, noted=True)
    write_model(tmp_path, "smollm2-135m", {"layers 0": 1.0}, {"layers 0": 0.9}, noted=True)
    table = hypotheses.table(ASKED, scale.load(tmp_path))
    (whole,) = table[(table["hypothesis"] == "H1") & (table["model"] == scale.ALL)].to_dict("records")
    assert whole["verdict"] == verdict and np.isnan(whole["p"])


def test_h2_compares_the_first_layer_with_the_median_of_the_places(tmp_path):
    write_model(tmp_path, NEW, SINGLES, {}, noted=True)
    one = outcomes(tmp_path)["H2 6 single layers"]
    assert one["outcome"] == pytest.approx(2.0 - np.median(list(SINGLES.values())), abs=0.02)
    assert one["outcome_low"] > 1 and one["verdict"] == hypotheses.FOR


def test_h2_fails_where_the_bottom_is_no_harder(tmp_path):
    write_model(tmp_path, NEW, SINGLES | {"layers 0": 0.1}, {}, noted=True)
    assert outcomes(tmp_path)["H2 6 single layers"]["verdict"] == hypotheses.AGAINST


def test_h3_asks_whether_dd_ranks_better(tmp_path):
    sets = {f"layers {number}": 3.0 - 0.2 * number for number in range(6)}
    sets |= {f"layers 0-{number}": 3.0 + 0.3 * number for number in range(1, 6)}
    sets |= {"layers 2-3": 2.55, "layers 3-4": 2.25}
    write_model(tmp_path, NEW, sets, {}, noted=True)
    folder = tmp_path / "some-machine" / "scale" / NEW
    right = {name: 10 * kl for name, kl in sets.items()}
    write_dd(folder, right)
    found = outcomes(tmp_path)
    assert {name for name in found if name.startswith("H3")} == {f"H3 DD less {rival}" for rival in hypotheses.RIVALS}
    assert found["H3 DD less size"]["outcome"] > 0 and found["H3 DD less size"]["n"] == 13
    assert found["H3 DD less zero-query KL"]["outcome"] == pytest.approx(0, abs=0.05), "the same order"
    other = elsewhere(folder)
    write_cell(other, "layers 0", "sem", 400, 42, [9.0] * TEXTS, 0.4)
    assert outcomes(tmp_path)["H3 DD less size"] == found["H3 DD less size"], "the same draw on two machines is one"
    write_dd(folder, dict(list(right.items())[:11]))
    assert outcomes(tmp_path)["H3"]["verdict"] == hypotheses.NOT_RUN, "twelve sets at least"


def test_h3_over_several_victims_takes_each_as_a_block(tmp_path):
    sets = {f"layers {number}": 3.0 - 0.2 * number for number in range(12)}
    for model, sign in ((NEW, 1), ("smollm2-135m", -1)):
        folder = write_model(tmp_path, model, sets, {}, noted=True)
        order = sorted(sets.values())[::sign]
        write_dd(folder, dict(zip(sets, sorted(order, reverse=sign > 0), strict=True)))
    table = hypotheses.table(ASKED, scale.load(tmp_path))
    mine = table[(table["hypothesis"] == "H3") & (table["what"] == "DD less size")].set_index("model")
    assert list(mine["n"]) == [12, 12, 24]
    both = mine.loc[[NEW, "smollm2-135m"], "outcome"].mean()
    assert mine.loc[scale.ALL, "outcome"] == pytest.approx(both), "the mean over victims, whatever their sets"
    assert list(mine["confirmatory"]) == [True, False, False], "one that was looked at makes all exploratory"
    folder = write_model(tmp_path, "gemma-270m", sets, {}, noted=True)
    write_dd(folder, {name: 10 * kl for name, kl in sets.items()})
    table = hypotheses.table(ASKED, scale.load(tmp_path))
    mine = table[(table["hypothesis"] == "H3") & (table["what"] == "DD less size")].set_index("model")
    new = mine.loc[hypotheses.UNSEEN]
    assert (new["n"], new["confirmatory"]) == (24, True) and mine.loc[scale.ALL, "n"] == 36
    assert new["outcome"] == pytest.approx(mine.loc[[NEW, "gemma-270m"], "outcome"].mean())


def test_the_strength_of_a_correlation_is_spearmans(tmp_path):
    stream = np.random.default_rng(3)
    x, y = stream.integers(5, size=(20, 12)).astype(float), stream.standard_normal((20, 12))
    x[0] = 1.0
    plain = [abs(metrics.spearman(pd.Series(a), pd.Series(b))) for a, b in zip(x, y, strict=True)]
    assert np.abs(spearman(x, y)) == pytest.approx(np.nan_to_num(plain))


def write_curve(reference: Path, model: str, width: int, halfway: float, counts: tuple[int, ...] = (10, 100, 1000)):
    """Map cells on layer 0, three query counts with 50 tokens a query; agreement comes to half at `halfway` tokens."""
    folder = reference / "some-machine" / "scale" / model
    write_model(reference, model, {}, {}, noted=False)
    for queries in counts:
        above = 0.5 + 0.2 * np.log10(50 * queries / halfway)
        for seed in (42, 7):
            share = FLOOR + (1 - FLOOR) * above
            name = write_cell(folder, "layers 0", "stitch", queries, seed, [1.0] * TEXTS, share)
            for end in (".csv", paths.ITEMS_END):
                path = folder / f"{name}{end}"
                table = pd.read_csv(path, keep_default_na=False)
                if end == ".csv":
                    table = table.assign(tokens=np.where(table["steps"] > 0, 50 * queries, 0), numbers=width)
                table.to_csv(folder / f"{name}{end}".replace("-ours-", "-map-"), index=False)
                path.unlink()


def test_h4_is_the_slope_over_widths(tmp_path):
    for model, width, halfway in (("smollm2-135m", 100, 1000), (NEW, 400, 4000), ("qwen-coder-0_5b", 200, 2000)):
        write_curve(tmp_path, model, width, halfway)
    one = outcomes(tmp_path)["H4 linear map, 3 widths"]
    assert one["outcome"] == pytest.approx(1.0, abs=0.1) and one["verdict"] == "undecided", "four widths decide"
    write_curve(tmp_path, "gemma-270m", 800, 8000)
    one = outcomes(tmp_path)["H4 linear map, 4 widths"]
    assert one["verdict"] == hypotheses.FOR and one["model"] == "all" and one["threshold"] == 1.5


def test_h4_leaves_out_and_names_a_model_that_never_comes_to_half(tmp_path):
    write_curve(tmp_path, "smollm2-135m", 100, 1000)
    write_curve(tmp_path, "gemma-270m", 200, 8000)
    write_curve(tmp_path, NEW, 400, 1e6)
    assert f"H4 linear map, 2 widths (never half: {NEW})" in outcomes(tmp_path)


def test_h4_says_no_more_than_a_model_that_is_at_half_from_the_first_point_allows(tmp_path):
    """It may have needed one text only: with that the slope is another, and nothing is decided."""
    for model, width, halfway in (("smollm2-135m", 100, 1000), (NEW, 400, 4000), ("qwen-coder-0_5b", 800, 8000)):
        write_curve(tmp_path, model, width, halfway)
    write_curve(tmp_path, "gemma-270m", 110, 400)
    one = outcomes(tmp_path)["H4 linear map, 4 widths (at most: gemma-270m)"]
    assert one["outcome"] < 1.5 < one["outcome_high"] and one["verdict"] == "undecided"
    assert one["p"] > 0.5, "the other reading lies across the threshold"


def test_a_crossing_is_where_the_line_crosses():
    x = np.array([0.0, 1.0, 2.0])
    y = np.array([[0.0, 0.6, 0.1], [0.4, 0.7, 0.2], [0.8, 0.4, 0.3]])
    found = hypothesis_width.crossing(x, y, 0.5)
    assert found[:2].tolist() == pytest.approx([1.25, 0.0]) and np.isnan(found[2])


def test_a_slope_is_numpys():
    stream = np.random.default_rng(1)
    x, y = stream.standard_normal(4), stream.standard_normal((4, 30))
    assert hypothesis_width.slopes(x, y) == pytest.approx(np.polyfit(x, y, 1)[0])


def write_benchmarks(folder: Path, cell: str, correct: int, steps: int, run: dict) -> None:
    """A benchmark of 200 items, `correct` of them right, beside a cell or as the victim's own."""
    fixed = {"model": folder.name, "deployment": run["deployment"], "attack": run["attack"], "seed": run["seed"]}
    fixed |= {"steps": steps, "benchmark": "copa", "weight": 1}
    items = [fixed | {"item": str(number), "value": int(number < correct)} for number in range(200)]
    schema.write(items, schema.ITEMS, folder / f"{cell}{paths.BENCHMARK_ITEMS_END}")


def test_an_outcome_stands_beside_its_threshold_and_corrected_p():
    """The page said what came of each hypothesis and not by what it was judged."""
    table = catalogue.TABLES["hypotheses"]
    row = dict.fromkeys(table.columns) | {"model": "m", "hypothesis": "H1", "outcome": 0.605, "outcome_low": 0.577}
    row |= {"outcome_high": 0.63, "threshold": 0.25, "p_holm": 0.007496, "confirmatory": True}
    blank = row | {"hypothesis": "H3", "threshold": None, "p_holm": None, "outcome": None}
    shown = table.compact(pd.DataFrame([row, blank]))
    assert shown["outcome"].tolist()[0] == "0.60 [0.58, 0.63]"
    assert shown[["threshold", "p, by Holm"]].values.tolist() == [["0.25", "0.0075"], ["", ""]]


def write_paper_cell(folder: Path, victim: dict, recipe: str, steps: int, correct: int) -> str:
    """A cell by a recipe of the paper's, `correct` of 200 items right after `steps`; returns its name."""
    name = f"sem-layers_0-{recipe}-400-42"
    for end in (".csv", paths.ITEMS_END):
        text = pd.read_csv(folder / f"sem-layers_0-ours-400-42{end}", dtype=str, keep_default_na=False)
        text["steps"] = text["steps"].replace("7", str(steps))
        text.to_csv(folder / f"{name}{end}", index=False)
    write_benchmarks(folder, name, correct, steps, {"deployment": "layers 0", "attack": "sem", "seed": 42})
    return name


def write_paper_cells(tmp_path: Path, cells: dict[str, tuple[int, int]]) -> Path:
    """A victim with one benchmark and cells of the paper's: by recipe, steps and how many items are right."""
    folder = write_model(tmp_path, "smollm2-135m", {"layers 0": 2.0}, {}, noted=True)
    victim = run_columns("smollm2-135m", "none", "none", "none", 0, 0, "full") | {"seed": "none", "steps": 0}
    score = {"benchmark": "copa", "domain": "Rsn", "shots": 0, "metric": "acc", "value": 0.9, "stderr": 0.02, "n": 200}
    score |= {"chance": 0.5, "floor": 0.5, "task_version": "1", "forward_tokens": 2048, "libraries": "torch 2"}
    schema.write([victim | score], schema.SCORES, folder / paths.VICTIM_FILE)
    write_benchmarks(folder, "victim", 180, 0, victim)
    names = [write_paper_cell(folder, victim, recipe, *of) for recipe, of in cells.items()]
    for end in (".csv", paths.ITEMS_END):
        (folder / f"sem-layers_0-ours-400-42{end}").unlink()
    noted = [{"cell": name, "sha256": reading.asked(), "commit": "cd"} for name in names]
    schema.write(noted, schema.REGISTERED, folder / paths.HYPOTHESES_FILE)
    return folder


@pytest.mark.parametrize(("correct", "said"), [(80, hypotheses.FOR), (140, hypotheses.AGAINST), (110, "undecided")])
def test_h5_is_the_share_of_the_victim_above_chance(correct, said, tmp_path):
    folder = write_paper_cells(tmp_path, {"paper_epochs": (7, correct)})
    one = outcomes(tmp_path)["H5 7 steps, 1 benchmarks"]
    assert one["outcome"] == pytest.approx((correct - 100) / 80) and one["verdict"] == said and one["confirmatory"]
    assert one["outcome_low"] < one["outcome"] < one["outcome_high"]
    (folder / f"sem-layers_0-paper_epochs-400-42{paths.BENCHMARK_ITEMS_END}").unlink()
    with pytest.raises(StudyError, match="paper_epochs-400-42.benchmarks.csv: missing, .* delete sem-layers_0-paper"):
        outcomes(tmp_path)


def test_h5_at_two_lengths_is_two_rows_the_shorter_first(tmp_path):
    write_paper_cells(tmp_path, {"paper_epochs": (11, 140), "paper_steps": (9, 80)})
    found = {name: one for name, one in outcomes(tmp_path).items() if name.startswith("H5")}
    assert list(found) == ["H5 9 steps, 1 benchmarks", "H5 11 steps, 1 benchmarks"]
    assert [one["verdict"] for one in found.values()] == [hypotheses.FOR, hypotheses.AGAINST]


def test_holm_is_stricter_than_p_and_no_stricter_than_bonferroni():
    rows = pd.DataFrame({"hypothesis": ["H1", "H2", "H3", "H5", "H4"], "p": [0.01, 0.04, 0.03, 0.02, None]})
    found = outcome.corrected(rows)
    assert found.tolist()[:3] == pytest.approx([0.03, 0.06, 0.06]) and found[3:].isna().all()


def test_a_p_says_how_often_the_answer_turned_round():
    values = np.array([0.3, *([0.2] * 9), *([0.4] * 90)])
    cells = pd.DataFrame({"model": [NEW], "asked_before": [True]})
    one = outcome.row("H1", ASKED["H1"], NEW, "", 9, values, 0.25, cells)
    assert one["p"] == pytest.approx(2 * 10 / 100) and one["confirmatory"]


def test_nothing_ran_nothing_is_claimed(tmp_path):
    table = hypotheses.table(ASKED, scale.load(tmp_path))
    assert table["hypothesis"].tolist() == list(ASKED) and set(table["verdict"]) == {hypotheses.NOT_RUN}


def test_the_best_attack_is_chosen_where_it_is_not_judged(tmp_path):
    folder = write_model(tmp_path, NEW, {"layers 0": 1.0}, {"layers 0": 0.5}, noted=True)
    write_cell(folder, "layers 0", "stitch", 400, 42, [9.0] * TEXTS, 0.6)
    best = scale.best(scale.points(scale.load(tmp_path).cells)).iloc[0]
    assert best["attack"] == "stitch", "more agreement on its own kind, whatever its KL on C4"
    write_cell(folder, "layers 0", "stitch", 1600, 42, [9.0] * TEXTS, 0.55)
    best = scale.best(scale.points(scale.load(tmp_path).cells)).iloc[0]
    assert (best["attack"], best["queries"]) == ("stitch", 1600), "each attack with the most queries that it had"


def test_a_cut_cell_is_one_line(tmp_path):
    folder = write_model(tmp_path, NEW, {"layers 0": 1.0}, {}, noted=False)
    path = folder / "sem-layers_0-ours-400-42.csv"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StudyError, match="sem-layers_0-ours-400-42.csv: .*; delete the file to run the cell again"):
        scale.load(tmp_path)


def test_a_cell_without_its_texts_is_one_line(tmp_path):
    folder = write_model(tmp_path, NEW, {"layers 0": 1.0}, {}, noted=False)
    (folder / f"sem-layers_0-ours-400-42{paths.ITEMS_END}").unlink()
    with pytest.raises(
        StudyError, match="400-42.items.csv: missing beside its cell; delete sem-layers_0-ours-400-42.csv"
    ):
        scale.load(tmp_path)


def test_a_kl_that_is_no_number_is_one_line(tmp_path):
    folder = write_model(tmp_path, NEW, {"layers 0": 1.0}, {}, noted=False)
    path = folder / f"sem-layers_0-ours-400-42{paths.ITEMS_END}"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",inf"]) + "\n")
    with pytest.raises(StudyError, match="400-42.items.csv: line .* delete the file to run the cell again"):
        scale.load(tmp_path)


def test_the_settings_name_what_the_tables_judge():
    assert list(ASKED) == ["H1", "H2", "H3", "H4", "H5"]
    for one in ASKED.values():
        assert json.loads(one.model_dump_json())["threshold"]
        assert set(one.confirmatory) <= set(params.load().models)
