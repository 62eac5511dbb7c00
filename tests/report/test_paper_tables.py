"""The paper's tables and ours as HTML and LaTeX: the printed numbers, escaped and balanced, and LaTeX takes them."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from solid_utils.core import readers
from solid_utils.paper import paper, registry
from solid_utils.report import catalogue, paper_tables, results

NAMES = ("attacks", "evidence", "difficulty", "customization", "equivalence", "scale", "benchmarks")
ENGINES = {"tectonic": ["tectonic"], "pdflatex": ["pdflatex", "-interaction=nonstopmode", "-halt-on-error"]}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    folder = results.shipped()[0] / "tables"
    ours = {name: readers.read_csv(folder / f"{name}.csv", "run `make tables`") for name in NAMES}
    return paper_tables.files(["smollm2-135m"], ours, catalogue.TABLES)


def test_each_table_has_both_kinds_under_its_number_and_ours_beside_it(made):
    numbered = {f"table_{number}.{kind}" for number in range(1, 43) for kind in ("tex", "html")}
    assert numbered <= set(made)
    beside = {key for key, item in registry.load().items() if item.table and key.startswith("table")}
    assert {f"{key}-smollm2-135m.{kind}" for key in beside for kind in ("tex", "html")} <= set(made)
    assert set(made) - numbered == {name for name in made if "-smollm2-135m." in name} | {"all.tex"}


def tex_rows(text: str) -> list[list[str]]:
    """The cells of a tabular's body, unescaped."""
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    lines = [line.removesuffix(r"\\").strip() for line in body.strip().splitlines()]
    return [[cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)&", line)] for line in lines]


class Cells(HTMLParser):
    """The text of a page's table cells, row by row."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        self.inside = tag == "td"

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("number", [1, 11, 14, 26, 42])
def test_both_kinds_hold_the_published_numbers(made, number):
    table = paper.published_table(number)
    value = "value" if "value" in table else "pearson"
    printed = sorted(float(cell) for cell in table[value])
    cells = [cell for row in tex_rows(made[f"table_{number}.tex"]) for cell in row[1:] if cell]
    assert [row for row in Cells(made[f"table_{number}.html"]).rows if row] == tex_rows(made[f"table_{number}.tex"])
    found = sorted(float(cell) for cell in cells if re.fullmatch(r"-?[\d.]+", cell))
    assert found == pytest.approx(printed if value == "value" else sorted([*printed, *table["spearman"]]), abs=0.005)


def test_a_column_of_a_table_is_the_papers(made):
    head, *rows = [
        re.split(r"(?<!\\)&", line) for line in made["table_14.tex"].split(r"\toprule")[1].splitlines()[1:6:2]
    ]
    assert [cell.strip() for cell in head[:3]] == ["benchmark", "none, Pretrain", "FT-all, SOLID"]
    first = tex_rows(made["table_14.tex"])[0]
    victim, replica = paper.pretrain("Llama2-70B"), paper.column(14, "Llama2-70B", "FT-all", "SOLID")
    assert first[:3] == ["PIQA", f"{victim['PIQA']:.2f}", f"{replica['PIQA']:.2f}"] and rows


def test_latex_is_balanced_and_escaped(made):
    for name, text in made.items():
        if not name.endswith(".tex"):
            continue
        assert text.isascii(), name
        bare = re.sub(r"\\[\\&%$#_{}]", "", text)  # what is escaped is text
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0, name
        begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
        assert begun == ended[::-1], name
        if name == "all.tex":
            continue
        assert not re.search(r"[#^~<>|\"]", re.sub(r"\\ifdim.width>", "", bare.partition("\n")[2])), name
        columns = len(re.search(r"\\begin{tabular}{([lr]+)}", text)[1])
        lines = text.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "").strip().splitlines()
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines if line} == {columns}, name
        assert len(re.findall(r"(?<!\\)%", text)) == 2, f"{name}: a comment swallows the rest of its line"


@pytest.mark.parametrize(
    "text, escaped",
    [
        ("50 % of a_b & c", r"50 \% of a\_b \& c"),
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("x < 1 ± 2 ≥ #", r"x \textless{} 1 $\pm$ 2 $\geq$ \#"),
        ("“a” ~ ^", r"``a'' \textasciitilde{} \textasciicircum{}"),
    ],
)
def test_signs_that_mean_something_in_latex_are_text(text, escaped):
    assert paper_tables.latex(text) == escaped


def test_html_is_escaped():
    table = pd.DataFrame({"a<b": ["<script>"]})
    page = paper_tables.both("x", table, "1 < 2")["x.html"]
    assert "<script>" not in page and "a&lt;b" in page and "1 &lt; 2" in page


def test_latex_compiles(made, tmp_path):
    """Every table, one after the other, in one document."""
    engine = next((command for name, command in ENGINES.items() if shutil.which(name)), None)
    if engine is None:
        pytest.skip("neither tectonic nor pdflatex is here; the structure alone was checked")
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    command = [*engine, "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert Path(tmp_path / "all.pdf").stat().st_size > 10_000
