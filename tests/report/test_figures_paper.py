"""The paper's figures, redrawn: its numbers as they stand in the tables, ours beside them, or what is missing."""

import pandas as pd
import pytest

from solid_utils.core import readers
from solid_utils.paper import paper, registry
from solid_utils.report import figures, figures_paper, paper_numbers, results
from solid_utils.report.paper_numbers import ADR, DD
from solid_utils.report.tables import trade_off

NAMES = ("attacks", "evidence", "difficulty", "customization", "scale", "search")
PAPERS = [figure for figure in figures.FIGURES.values() if figure.below == "published"]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    folder = results.shipped()[0] / "tables"
    made = {name: readers.read_csv(folder / f"{name}.csv", "run `make tables`") for name in NAMES}
    made["trade_off"] = pd.DataFrame(columns=trade_off.COLUMNS)  # no cells: test_figures_customers.py has some
    return {name: table[table["model"] == "smollm2-135m"] for name, table in made.items()}


def test_figures_are_those_of_the_registry_and_lie_in_their_own_folder():
    named = {item.figure for item in registry.load().values() if item.figure}
    assert {figure.name for figure in PAPERS} == named == {f"figure_{number}" for number in range(3, 11)}
    assert {figure.folder for figure in PAPERS} == {"paper/"}
    assert figures.Picture("toy", "figure_3", b"", "", "paper/").file == "paper/toy-figure_3.png"


@pytest.mark.parametrize("name", [figure.name for figure in PAPERS])
def test_each_is_drawn_from_the_shipped_tables(name, tables):
    figure, sentence = figures.FIGURES[name].plot(tables)
    assert "aper" in sentence and "ere" in sentence and "nan" not in sentence and "  " not in sentence
    drawn = [axes for axes in figure.axes if axes.has_data()]
    assert len(drawn) == len(figure.axes), "a panel is empty"
    assert all(axes.get_title() for axes in figure.axes)


@pytest.mark.parametrize("name", [figure.name for figure in PAPERS if figure.name != "figure_6"])
def test_where_nothing_ran_the_panel_says_what_it_needs(name, tables):
    empty = {key: table.head(0) for key, table in tables.items()}
    figure, _ = figures.FIGURES[name].plot(empty)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any(text.startswith("not run here: needs") for text in texts)


def test_the_sensitivity_to_the_tolerance_is_ours_alone(tables):
    assert figures.FIGURES["figure_6"].plot({key: table.head(0) for key, table in tables.items()}) is None
    figure, sentence = figures.FIGURES["figure_6"].plot(tables)
    assert len(figure.axes) == 1 and "left out" in sentence


def test_small_ones_are_svg_too_and_the_others_are_told_by_their_size(tables):
    """Figure 6, of twenty points, was PNG for "too many marks" as long as none of the paper's was tried."""
    made = {name: figures.picture(name, tables, "smollm2-135m") for name in ("figure_5", "figure_6")}
    assert made["figure_6"].shown == "paper/smollm2-135m-figure_6.svg" and b"<svg" in made["figure_6"].svg
    assert not made["figure_5"].svg, "hatched bars: larger than picture.LARGEST"
    assert all(figure.vector for figure in PAPERS)


def test_series_are_the_printed_ones():
    placed = paper_numbers.by_place("Llama2-7B")
    assert len(placed) == 16 and list(placed["secured"][:9]) == [*map(str, range(8)), "16"]
    printed = paper.summary(26, "Llama2-7B", "FT-all", "0"), paper.summary(27, "Llama2-7B", "FT-all", "*")
    assert placed[ADR][0] == printed[0][ADR] and placed[DD][0] == printed[0][DD]
    assert placed["above"][0] == pytest.approx(printed[0][ADR] - printed[1][ADR])
    shares = paper_numbers.by_share("Mistral-7B")
    assert list(shares["share"]) == [0.25, 0.5, 1, 3, 7, 15, 30, 50, 100] and shares["above"].iloc[-1] == 0
    half = paper.summary(36, "Mistral-7B", "FT-all", "0.5%")[ADR]
    assert shares.loc[shares["share"] == 0.5, ADR].item() == half  # though the table prints it after 1 %
    assert len(paper_numbers.every_set("Llama2-7B")) == 16 + 9 + 7
    grown = paper_numbers.customized_by_size()["Llama2-7B"]
    assert grown["share"].iloc[0] == 100 / 32 and grown["score"].iloc[1] == 21.76  # layers 0 and 0-4


def test_domains_are_means_of_ratios():
    found = paper_numbers.domains(13, "Llama2-70B", ["Semi-Open-2"])
    victim, top = paper.pretrain("Llama2-70B"), paper.column(13, "Llama2-70B", "FT-all", "Semi-Open-2")
    by_hand = 100 * (top["MMLU"] / victim["MMLU"] + top["BBH"] / victim["BBH"]) / 2
    assert found.loc["Gen", "Semi-Open-2"] == pytest.approx(by_hand)


def test_a_family_is_one_budget_on_the_most_sets():
    ends = pd.DataFrame(
        {
            "attack": "sem",
            "source": "grid",
            "recipe": ["a", "a", "a", "b", "b"],
            "queries": [400, 400, 400, 800, 1600],
            "secured": ["layers 0", "layers 0", "layers 3", "layers 0", "layers 7"],
            "start": "xavier",
            "share": 0.1,
            "depth": 1,
            "above_floor_apart": [0.2, 0.4, 0.5, 0.9, 0.8],
            "kl_apart": 1.0,
        }
    )
    found = paper_numbers.families({"evidence": ends}, pd.Series(True, index=ends.index))
    assert list(found["secured"]) == ["layers 0", "layers 3"] and set(found["queries"]) == {400}
    assert found["above_floor_apart"].tolist() == pytest.approx([0.3, 0.5])  # two seeds are one set
    none = paper_numbers.families({"evidence": ends}, ends["secured"] == "all")
    assert none.empty and "above_floor_apart" in none


def test_top_pairs_are_those_of_the_model(tables):
    found = figures_paper.pairs(tables)
    assert set(found["secured"]) == {"layers 0-1", "layers 28-29", "all"}
    assert set(found.loc[found["end"] == "two top", "attack"]) == set(found.loc[found["end"] == "two bottom", "attack"])
