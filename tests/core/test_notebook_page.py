"""An executed notebook as a person sees it: no states of a bar, formulas drawn, nothing loaded from a network."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from solid_utils.core import notebook_page
from solid_utils.core.errors import StudyError
from tests.links import dead

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def stream(text: str, name: str = "stderr") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def test_a_finished_bar_is_one_line_and_others_stay_as_they_are():
    said = (
        "a: 1/2 [x]\nsweep 1 of 2:  98%|█████▉ | 39/40 [00:03<00:00]\rsweep 1 of 2: 100%|██████| 40/40 [00:04<00:00]\n"
    )
    said += "100%|██████| 100/100 [00:00<00:00, 9.1it/s]\n                    \nUserWarning: mind this\n"
    cell = nbformat.v4.new_code_cell(
        "1", outputs=[stream(said), stream("  0%|   | 0/9 [00:00<?]\r        \n"), stream("out", "stdout")]
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("x"), cell])
    outputs = notebook_page.tidied(notebook).cells[1].outputs
    assert [(one.name, one.text) for one in outputs] == [
        ("stderr", "a: 1/2 [x]\nsweep 1 of 2: 40 of 40\nUserWarning: mind this\n"),
        ("stdout", "out"),
    ]


def test_of_a_training_its_last_line_stays():
    said = "memory: 1 GB\nstep 5/30, 2.31 s a step, 58 s left\n"
    said += "step 26/30, 2.60 s a step, 10 s left\r\ntraining: 30 of 30\n"
    said += "step 3/4 of the recipe\n\n  a table \n"
    cell = nbformat.v4.new_code_cell("1", outputs=[stream(said, "stdout")])
    alone = nbformat.v4.new_code_cell("1", outputs=[stream("step 1/2, 0.10 s a step, 0 s left\n", "stdout")])
    cells = notebook_page.tidied(nbformat.v4.new_notebook(cells=[cell, alone])).cells
    (kept,) = cells[0].outputs
    assert kept.text == "memory: 1 GB\ntraining: 30 of 30\nstep 3/4 of the recipe\n\n  a table \n"
    assert cells[1].outputs == []


def test_the_same_bar_again_is_said_once():
    said = "".join(f"fit: 100%|███| 2/2 [00:0{n}<00:00]\nUserWarning: mind this\n" for n in range(3))
    cell = nbformat.v4.new_code_cell("1", outputs=[stream(said)])
    outputs = notebook_page.tidied(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert outputs[0].text == "fit: 2 of 2\n" + 3 * "UserWarning: mind this\n"


class Loads(HTMLParser):
    """What a page would load, and its links."""

    def __init__(self):
        super().__init__()
        self.loaded, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if tag == "a":
            self.links.append(attrs.get("href", ""))
        elif place := attrs.get("src") or (tag == "link" and attrs.get("href")):
            self.loaded.append(place)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_shipped_notebook_is_a_page_that_loads_nothing(path):
    text = notebook_page.page(nbformat.read(path, as_version=4), path.stem)
    seen = Loads()
    seen.feed(text)
    assert not [place for place in seen.loaded if not place.startswith("data:")]
    assert not re.search(r"https?://(cdn|unpkg|cdnjs)", text)
    inside = [place.removeprefix("#") for place in seen.links if place.startswith("#")]
    assert len(inside) > 2 and set(inside) <= seen.ids, "a table of contents that leads nowhere"
    assert "../../results/report.html" in seen.links
    outside = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", text, flags=re.DOTALL)
    assert "$$" not in outside and "studyformula" not in text


def test_formulas_are_drawn_and_code_is_left_alone():
    cells = [nbformat.v4.new_markdown_cell("$$\\frac{a_0}{b}$$ and $x^2$, not `$y^2$`, nor \\$5 to $6 each")]
    text = notebook_page.page(nbformat.v4.new_notebook(cells=cells), "01_x")
    assert text.count("<math") == 2 and "<mfrac>" in text and "<msup>" in text
    assert "$y^2$" in text and "to $6 each" in text


def test_a_headings_formula_leaves_its_anchor_whole():
    cells = [nbformat.v4.new_markdown_cell("## How large is $l^*$?")]
    text = notebook_page.page(nbformat.v4.new_notebook(cells=cells), "01_x")
    assert text.count("<math") == 2 and not re.search('="[^"]*<math', text)
    seen = Loads()
    seen.feed(text)
    assert {place.removeprefix("#") for place in seen.links if place.startswith("#")} <= seen.ids


@pytest.mark.parametrize("formula", ["x^", "\\nosuch{x}"])
def test_a_formula_that_cannot_be_drawn_is_one_line(formula):
    cells = [nbformat.v4.new_markdown_cell(f"${formula}$")]
    with pytest.raises(StudyError, match="notebook: .*(mend it|write it otherwise)") as error:
        notebook_page.page(nbformat.v4.new_notebook(cells=cells), "01_x")
    assert "\n" not in str(error.value)


def test_every_link_of_the_shipped_notebooks_resolves_where_they_are_executed(tmp_path):
    """A study's folders as they are once it ran: docs, notebooks and the report beside build/executed."""
    root = Path(__file__).parents[2]
    folder = tmp_path / "build" / "executed"
    for made in (folder, tmp_path / "results" / "pages"):
        made.mkdir(parents=True)
    for name in ("docs", "notebooks"):
        (tmp_path / name).symlink_to(root / name)
    for page in (tmp_path / "results" / "report.html", tmp_path / "results" / "pages" / "theory.html"):
        page.write_text('<p id="on_game">')
    numbers = [path.name[:2] for path in NOTEBOOKS] + [""]
    for path, following in zip(NOTEBOOKS, numbers[1:], strict=True):
        executed = notebook_page.moved(nbformat.read(path, as_version=4))
        (folder / f"{path.stem}.html").write_text(notebook_page.page(executed, path.stem, following))
    notebook_page.write_index(folder)
    assert dead(sorted(folder.glob("*.html"))) == []
    (tmp_path / "docs").unlink()
    assert [one.partition(":")[0] for one in dead(sorted(folder.glob("*.html")))] == [
        "03_attacks.html",
        "06_deployment.html",
    ]


def test_links_are_moved_and_code_and_other_places_are_not():
    said = "[a](../docs/a.md#x) [b\nc](b.ipynb) `[d](d.md)` [e](#e) [f](https://g.org/h) [i](mailto:j@k.l)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(said), nbformat.v4.new_code_cell(said)])
    text, code = (cell.source for cell in notebook_page.moved(notebook).cells)
    assert text == said.replace("../docs/a", "../../docs/a").replace("(b.ipynb", "(../../notebooks/b.ipynb")
    assert code == said


def test_the_index_lists_what_is_there(tmp_path):
    for name in ("02_b-m", "01_a-m", "01_a-n", "10_<c>"):
        (tmp_path / f"{name}.html").write_text("")
    notebook_page.write_index(tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert re.findall('id="(.+?)"', text) == ["01", "02", "10"] and "<c>" not in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs a browser: chromium")
def test_a_browser_draws_the_formulas_and_complains_of_nothing(tmp_path):
    path = NOTEBOOKS[1]
    page = tmp_path / "page.html"
    page.write_text(notebook_page.page(nbformat.read(path, as_version=4), path.stem))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
    command = ["chromium", *flags, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "<msub>" in done.stdout
    assert "CONSOLE" not in done.stderr


def test_only_a_notebook_that_has_a_next_one_links_to_it():
    assert [name for name, _ in notebook_page.links()] == ["The study's page", "All notebooks"]
    assert notebook_page.links("02")[-1] == ("Next notebook", "index.html#02")
