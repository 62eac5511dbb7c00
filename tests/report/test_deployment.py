"""What a deployment costs and what its defences take, from their files: no model, and no number that is not theirs."""

import numpy as np
import pytest

from solid_utils.core import paths, schema
from solid_utils.metrics import intervals
from solid_utils.paper.confidential import OVERHEADS
from solid_utils.report import catalogue, results

FACTS = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32", "parameters": 10, "depth": 1}
FACTS |= {"lowest": 0, "highest": 0, "only_layers": True}
COUNTED = {"rows": 4, "context": 128, "cache_bytes": 8}


def counted(secured: str, work: str, share: float, flops: float, crossed: float) -> dict:
    """A row of costs.csv."""
    own = {"secured": secured, "share": share, "work": work, "pulls": False, "secret_bytes": int(1000 * share)}
    return FACTS | COUNTED | own | {"flops_inside": flops, "sent": crossed, "received": crossed}


def told(rounding: str, noise: float, attack: str, adapts: str, agreeing: list[int]) -> list[dict]:
    """Rows of defended.csv: four texts of ten answer tokens."""
    own = {"secured": "layers 0", "share": 0.1, "rounding": rounding, "noise": noise, "attack": attack}
    own |= {"adapts": adapts, "recipe": "x", "askings": 1, "queries": 9, "tokens": 90, "seed": 42, "weight": 10}
    return [FACTS | own | {"item": f"t{n}", "agreeing": hits, "kl": 1 - hits / 10} for n, hits in enumerate(agreeing)]


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "runs" / "m" / "deployment"
    rows = [counted("layers 0", "decode", 0.1, 5.0, 70.0), counted("layers 0", "prefill", 0.1, 6.0, 30.0)]
    rows += [counted("all", "decode", 1.0, 50.0, 400.0), counted("all", "prefill", 1.0, 80.0, 300.0)]
    schema.write(rows, schema.DEPLOYED, folder / paths.COSTS_FILE)
    items = told("none", 0.0, "none", "no", [10, 10, 10, 10]) + told("none", 0.0, "sem", "no", [8, 7, 9, 8])
    items += told("none", 0.5, "none", "no", [9, 8, 9, 10]) + told("none", 0.5, "sem", "no", [2, 3, 1, 2])
    items += told("none", 0.5, "sem", "mean", [6, 7, 7, 6])
    beyond = tmp_path / "beyond" / "runs" / "m" / "deployment"
    schema.write(items, schema.DEFENDED, beyond / paths.DEFENDED_FILE)
    return catalogue.make(results.load(tmp_path))


def test_costs_stand_beside_securing_everything_and_what_others_published(made):
    table = made["deployed"].set_index(["work", "secured"])
    assert table["flops_of_all"].to_dict() == pytest.approx(
        {("decode", "layers 0"): 0.1, ("prefill", "layers 0"): 0.075, ("decode", "all"): 1, ("prefill", "all"): 1}
    )
    said = catalogue.TABLES["deployed"].sentence(made["deployed"])
    assert "takes 5 FLOPs inside and 140 bytes across" in said and "50 and 800, and 1k bytes of secrets" in said
    shown = catalogue.TABLES["deployed"].compact(made["deployed"])
    assert list(shown["work"]) == ["decode", "decode", "prefill", "prefill"]
    introduction = catalogue.TABLES["deployed"].introduction
    assert all(one.words in introduction and one.source in introduction for one in OVERHEADS)
    assert "4 to 8 %" in introduction and "under 7 %" in introduction


def test_what_a_defence_takes_is_paired_by_text(made):
    """The intervals by numpy, from the draws that metrics.intervals makes."""
    table = made["defended"].set_index(["noise", "attack", "adapts"])
    naive, mean = table.loc[(0.5, "sem", "no")], table.loc[(0.5, "sem", "mean")]
    assert (naive["agreement"], mean["agreement"]) == pytest.approx((0.2, 0.65))
    assert (naive["taken"], mean["taken"], mean["felt"]) == pytest.approx((0.6, 0.15, 0.1))
    assert (naive["kl"], naive["n"], naive["seeds"]) == (pytest.approx(0.8), 4, 1)
    draws = np.concatenate(list(intervals._counts("evaluation", 4, intervals.TIMES)))[1:]  # (times, texts)
    lost = draws @ (np.array([8, 7, 9, 8]) - [6, 7, 7, 6]) / (10 * draws.sum(1))
    assert [mean["taken_low"], mean["taken_high"]] == pytest.approx(list(np.quantile(lost, [0.025, 0.975])))
    assert mean["taken_low"] < mean["taken"] < mean["taken_high"]
    bare = table.loc[(0.0, "none", "no")]
    assert (bare["felt"], np.isnan(bare["taken"])) == (0, True)
    said = catalogue.TABLES["defended"].sentence(made["defended"])
    assert "noise 0.5" in said and "sem (mean), still agrees on 65.0 %" in said and "customer loses 10.0 %" in said


def test_where_nothing_was_deployed_the_tables_say_so(tmp_path):
    (tmp_path / "runs" / "m").mkdir(parents=True)
    made = catalogue.make(results.load(tmp_path))
    for name in ("deployed", "defended"):
        assert made[name].empty and catalogue.TABLES[name].sentence(made[name]) == "Nothing there to show."
        assert catalogue.TABLES[name].compact(made[name]).empty
