"""Customization cells in the paper's figures: bars at the gaps, sentences with them, nothing drawn where none ran."""

import pandas as pd
import pytest

from solid_utils.core import readers
from solid_utils.report import figures, figures_customers, results
from solid_utils.report.tables import trade_off

MODEL = "smollm2-135m"


def row(part: str, secured: str, lowest: int, depth: int, gap: float, domain: str = "reasoning") -> dict:
    """A row of the table `trade_off`; fully open has 60 %."""
    found = dict.fromkeys(trade_off.COLUMNS) | {"model": MODEL, "machine": "one", "part": part, "trained_on": domain}
    found |= {"run": f"{domain}-{secured}", "deployment": secured, "secured": secured, "share": 0.03 * depth}
    found |= {"depth": depth, "lowest": lowest, "open": 0.6, "after": 0.6 + gap, "gap": gap, "n": 1000}
    found |= {"gap_low": gap - 0.02, "gap_high": gap + 0.01, "equivalence": "worse", "above_floor_apart": 0.5}
    return found | {"attack": "sem", "queries": 400}


ROWS = [row("ends", "layers 0-1", 0, 2, -0.05), row("ends", "layers 28-29", 28, 2, -0.1)]
ROWS += [row("ends", "layers 28-29", 28, 2, -0.2, "code")]
ROWS += [row("placement", "layers 14-15", 14, 2, -0.07), row("placement", "layers 2-3", 2, 2, -0.03)]
ROWS += [row("size", "layers 0-3", 0, 4, -0.08), row("deployments", "sap_dp", 6, 24, -0.3)]
ROWS += [row("depths", "layers 0-8", 0, 9, -0.15) | {"equivalence": trade_off.NOT_RUN}]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    folder = results.shipped()[0] / "tables"
    names = ("attacks", "evidence", "difficulty", "customization", "scale", "search")
    made = {name: readers.read_csv(folder / f"{name}.csv", "run `make tables`") for name in names}
    made = {name: table[table["model"] == MODEL] for name, table in made.items()}
    return made | {"trade_off": pd.DataFrame(ROWS)}


def heights(axes) -> list[float]:
    return [round(bar.get_height(), 6) for bar in axes.patches]


def test_bottom_and_top_pairs_stand_side_by_side(tables):
    figure, sentence = figures.FIGURES["figure_3"].plot(tables)
    assert len(figure.axes) == 4 and heights(figure.axes[3]) == [-5, -10, -20]
    first = figure.axes[3].collections[0].get_segments()[0]  # of the error bars
    assert first[:, 1].tolist() == pytest.approx([-7, -4]), "the paired interval"
    assert "layers 28-29 on code -20.0 % [-22.0, -19.0], worse" in sentence


def test_a_bottom_pair_alone_is_no_top_one(tables):
    alone = tables | {"trade_off": tables["trade_off"].head(1)}
    figure, _ = figures.FIGURES["figure_3"].plot(alone)
    assert heights(figure.axes[3]) == [-5]
    unknown = tables | {"difficulty": tables["difficulty"].query("secured != 'all'")}
    figure, _ = figures.FIGURES["figure_3"].plot(unknown)
    assert heights(figure.axes[3]) == [-5], "where the depth is not known no set is called the top"


def test_place_and_size_have_the_customers_line(tables):
    figure, sentence = figures.FIGURES["figure_4"].plot(tables)
    right = figure.axes[-1]
    assert right.get_ylabel() == "score after customization (%)"
    assert right.lines[0].get_xydata().tolist() == [[2, pytest.approx(57)], [14, pytest.approx(53)]]
    labels = figure.axes[3].get_legend_handles_labels()[1]
    assert "reasoning, customized" in labels and "reasoning, fully open" in labels
    assert "layers 0-3 on reasoning -8.0 %" in sentence and "1 of 4 planned runs have no cells yet" in sentence


def test_a_caption_says_which_cells_did_not_run(tables):
    """Figure 4's told of cells by size and then "no customization cell of this ran", which meant those by place."""
    sized = tables["trade_off"][tables["trade_off"]["part"] != "placement"]
    _, sentence = figures.FIGURES["figure_4"].plot(tables | {"trade_off": sized})
    assert "layers 0-3 on reasoning -8.0 %" in sentence
    assert "No customization cell by place ran here (`make customers`)." in sentence and "of this" not in sentence
    placed = tables["trade_off"].query("part == 'placement'").astype({"gap": float})
    assert figures_customers.said(placed, what=" by place").startswith("Customized by place, gap to fully")


def test_bars_by_deployment(tables):
    figure, sentence = figures.FIGURES["figure_5"].plot(tables)
    assert heights(figure.axes[5]) == [60, 30] and "sap_dp on reasoning -30.0 %" in sentence


def test_without_cells_one_line_says_so_and_nothing_is_empty(tables):
    none = tables | {"trade_off": tables["trade_off"].head(0)}
    for name, panels in (("figure_3", 3), ("figure_4", 4), ("figure_5", 6)):
        figure, sentence = figures.FIGURES[name].plot(none)
        assert len(figure.axes) == panels and "ran here (`make customers`)" in sentence
    assert figures_customers.trade_off(none) is None


def test_the_trade_off_is_a_point_a_set_and_the_same_bytes_again(tables):
    figure, sentence = figures_customers.trade_off(tables)
    drawn = [point for group in figure.axes[0].containers for point in group.lines[0].get_xydata().tolist()]
    assert [0.5, pytest.approx(-30)] in drawn and len(drawn) == len(ROWS) - 1
    assert "Lowest is sap_dp on reasoning, -30.0 % [-32.0, -29.0] from fully open, of which sem got 50.0 %" in sentence
    twice = [figures.picture("trade_off", tables, MODEL).png for _ in range(2)]
    assert twice[0] == twice[1]


def test_where_fully_open_gains_nothing_no_gap_is_drawn_and_a_sentence_says_so(tables):
    idle = row("deployments", "layers 29", 29, 1, 0.0, "code") | {"equivalence": "fully open gains nothing"}
    figure, sentence = figures_customers.trade_off(tables | {"trade_off": pd.DataFrame([*ROWS, idle])})
    assert sum(len(group.lines[0].get_xydata()) for group in figure.axes[0].containers) == len(ROWS) - 1
    assert "1 cells on which fully open gains nothing are left out." in sentence
    assert figures_customers.trade_off(tables | {"trade_off": pd.DataFrame([idle])}) is None


def test_several_domains_have_a_panel_each(tables):
    math = tables["customization"].query("recipe.str.startswith('math,')")
    rows = math.query("benchmark == 'all'")
    other = rows.assign(recipe=rows["recipe"].str.replace("math,", "code,"), run="other", kinds="bodies", after=0.9)
    both = tables | {"customization": pd.concat([math, other])}
    figure, sentence = figures.FIGURES["customization"].plot(both)
    assert [axes.get_title().partition(",")[0] for axes in figure.axes] == ["code", "math"]
    assert "solid on code" in sentence and "solid on math" in sentence
    assert heights(figure.axes[0])[-1] == 0.9
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said[0] == "0" and said[-1] == "90", "a bar of nothing is not seen, its number is"
    alone, _ = figures.FIGURES["customization"].plot(tables | {"customization": math})
    assert [axes.get_title().partition(",")[0] for axes in alone.axes] == ["all", "chain_sum", "gsm_symbolic"]
    assert figures_customers.mathematics(both)["run"].tolist() == rows["run"].tolist()


def test_a_ninth_group_is_drawn():
    """configs/customization.yaml has nine groups; there are eight marks."""
    rows = [row(f"group {number}", f"layers {number}", number, 1, -0.01 * number) for number in range(9)]
    figure, _ = figures_customers.trade_off({"trade_off": pd.DataFrame(rows)})
    assert sum(len(group.lines[0].get_xydata()) for group in figure.axes[0].containers) == 9
