"""A thief's advantage, by what is secured: the strongest attack of each set, as rows of the evidence have it."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from solid_utils.report.pages import chapters, game
from solid_utils.report.report import Report
from tests.synthetic import write_study


def row(deployment: str, secured: str, attack: str, advantage: float | None, queries: int = 100) -> dict:
    facts = {"model": "toy", "deployment": deployment, "secured": secured, "attack": attack, "queries": queries}
    return (
        facts
        | {"name": attack, "agreement": 0.5, "agreement_apart": 0.5, "floor_apart": 0.2}
        | {"above_floor_apart": advantage}
    )


EVIDENCE = pd.DataFrame(
    [
        row("layers 0", "layers 0", "sem", 0.3),
        row("solid", "layers 0", "stitch", 0.6, 1600),  # another name for the same set
        row("layers 14", "layers 14", "sem", 0.1),
        row("layers 3", "layers 3", "sem", -0.1),
        row("sap_dp", "layers 3", "ft_all", -0.2),  # with noise: a set by itself
        row("all", "all", "ft_all", None),  # no floor was counted: no advantage is known
    ]
)


def block(evidence: pd.DataFrame):
    return game.made(SimpleNamespace(tables={"evidence": evidence}))


def test_of_each_set_the_strongest_attack_under_its_row_of_the_evidence():
    (grid,) = block(EVIDENCE).grids
    shown = grid.rows.set_index("what is secured")[["thief's advantage %", "attack", "questions"]]
    assert shown.to_dict("index") == {
        "layers 0": {"thief's advantage %": "60.0", "attack": "stitch", "questions": "1600"},
        "layers 3": {"thief's advantage %": "-10.0", "attack": "sem", "questions": "100"},
        "layers 14": {"thief's advantage %": "10.0", "attack": "sem", "questions": "100"},
        "sap_dp (layers 3)": {"thief's advantage %": "-20.0", "attack": "ft_all", "questions": "100"},
    }
    assert grid.csv == "tables/evidence.csv" and grid.places == [2, 4, 3, 5]


def test_the_sentence_says_what_no_set_is():
    said = block(EVIDENCE).grids[0].sentence
    assert said.startswith("On 2 of 4 secured sets") and "60.0 %, was that of stitch on layers 0 with 1,600" in said
    assert block(EVIDENCE.iloc[[3]]).grids[0].sentence == (
        "On 0 of 1 secured sets a thief that was tried came above public text."
    )
    nothing = block(EVIDENCE.iloc[[5]]).grids[0]
    assert nothing.rows.empty and nothing.sentence == "No attack has run whose floor was counted."


def test_the_theory_chapter_shows_it(tmp_path):
    tables = Report(write_study(tmp_path)).tables
    chapter = next(one for one in chapters.CHAPTERS if one.name == "theory")
    made = chapter.parts[-1](SimpleNamespace(tables=tables))
    best = tables["evidence"]["above_floor_apart"].max()
    assert f"{100 * best:.1f}" in set(made.grids[0].rows["thief's advantage %"])
    assert made.title == "SOLID as a game" and made.grids[0].sentence.count(f"{100 * best:.1f} %") == 1


def test_the_notebook_points_there():
    text = (Path(__file__).parents[2] / "notebooks" / "00_theory.ipynb").read_text()
    assert "theory.html#on_game" in text
