"""The site of a report: links resolve, each row has its place, sentences say what rows say; in a browser, too."""

import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import jinja2
import pandas as pd
import pytest

from solid_utils.metrics.attack_cost import POINTS
from solid_utils.paper import registry
from solid_utils.paper.audit_tools import Resolved
from solid_utils.report import catalogue, figures, figures_depth, paper_tables, scale
from solid_utils.report.pages import audit, chapters, cite, costs, grid, home, items, matrix, site
from solid_utils.report.pages.standing import OF_CLAIMS
from solid_utils.report.pages.study import Study
from solid_utils.report.picture import Picture
from solid_utils.report.report import Report
from solid_utils.report.table import Table
from tests.browser import browser
from tests.synthetic import ATTACKS, write_study

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fccfc0f01f00050001ff"
    "a3d5a5ac0000000049454e44ae426082"
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="300"></svg>'
WIDTHS = (1300, 400)  # a screen and a telephone


def unpainted(_, name: str) -> list[Picture]:
    """A figure that nobody drew."""
    place = figures.FIGURES[name].folder
    return [Picture("toy", name, PNG, "A sentence that reads it.", place, f"Title of {name}", SVG)]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A site of a made-up study without the scale study; of the paper's items one, as in test_report."""
    one = {"table_23": registry.load()["table_23"]}
    nothing = scale.load(tmp_path_factory.mktemp("reference"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Report, "pictures", unpainted)
        patched.setattr(paper_tables.registry, "load", lambda: one)
        patched.setattr(scale, "load", lambda: nothing)
        return Report(write_study(tmp_path_factory.mktemp("results"))).write(tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="module")
def pages(built) -> dict[str, "Seen"]:
    found = [built / site.HOME, *sorted((built / "pages").glob("*.html")), *sorted(built.glob("tables/paper/*.html"))]
    return {str(path.relative_to(built)): Seen(path) for path in found}


class Seen(HTMLParser):
    """A page's tags with their attributes; its anchors; what it links to and loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.text = path.read_text(encoding="utf8")
        self.tags: list[tuple[str, dict]] = []
        self.feed(self.text)
        self.ids = Counter(attributes["id"] for _, attributes in self.tags if "id" in attributes)
        self.places = [
            attributes[name] for _, attributes in self.tags for name in ("href", "src") if name in attributes
        ]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def dead(built: Path, pages: dict[str, Seen]) -> list[str]:
    """Links to no file below the folder, or to no anchor of a page; what is loaded from elsewhere."""
    found = []
    for name, page in pages.items():
        for place in page.places:
            file, _, anchor = unquote(place).partition("#")
            target = (page.path.parent / file).resolve() if file else page.path
            inside = target.is_relative_to(built.resolve()) and target.is_file()
            if not inside or (anchor and anchor not in pages[str(target.relative_to(built.resolve()))].ids):
                found.append(f"{name}: {place}")
    return found


def test_every_link_resolves_and_nothing_is_loaded_from_elsewhere(built, pages):
    assert dead(built, pages) == []
    assert sum(len(page.places) for page in pages.values()) > 400
    assert not re.search(
        r"https?://", (built / "pages" / "study.css").read_text() + (built / "pages/tables.js").read_text()
    )


def test_a_dead_link_is_seen(built, tmp_path):
    wrong = tmp_path / "x.html"
    wrong.write_text(
        '<a href="gone.html"></a><a href="#no"></a><img src="https://example.org/a.png"><p id="a"><a href="#a">'
    )
    assert len(dead(tmp_path, {"x.html": Seen(wrong)})) == 3


def test_the_study_links_to_its_executed_notebooks(built, monkeypatch):
    assert site.NOTEBOOKS not in (built / site.HOME).read_text()
    monkeypatch.setattr(site, "CHAPTERS", ())
    monkeypatch.setattr(site.items, "pages", lambda _: {})
    monkeypatch.setattr(site.home, "firsts", lambda _: [])
    empty = Study(SimpleNamespace(models=[]), {}, {}, frozenset())
    assert f'href="{site.NOTEBOOKS}"' in site.files(empty, [], {}, site.paths.RESULTS)[site.HOME]
    assert (site.paths.RESULTS / site.NOTEBOOKS).resolve() == Path("build/executed/index.html").resolve()


def test_every_table_stands_on_one_page(pages):
    there = Counter(name for page in pages.values() for name in page.ids)
    assert {name: there[name] for name in catalogue.SHOWN} == {
        name: int(name not in chapters.NOT_SHOWN) for name in catalogue.SHOWN
    }, "a new section needs its line in chapters.py"


def test_pages_can_be_read_without_eyes(pages):
    for name, page in pages.items():
        assert page.all("html") == [{"lang": "en"}] and page.all("title") and len(page.all("main")) == 1, name
        assert max(page.ids.values(), default=1) == 1, f"{name}: an anchor stands twice"
        assert all(len(image["alt"]) > 20 for image in page.all("img")), name
        assert len(page.all("caption")) == len(page.all("table")), name
        if not name.startswith("tables/"):
            assert page.all("nav")[0]["aria-label"] and page.all("footer") and len(page.all("h1")) == 1, name
            current = [one["aria-current"] for _, one in page.tags if "aria-current" in one]
            assert current == ["page"], f"{name}: a reader of screens hears no chapter, or two"


def test_a_rows_number_is_that_of_its_csv_row(built, pages):
    page = pages["pages/attacks.html"]
    runs = pd.read_csv(built / "tables" / "attacks.csv")["run"]
    for number, run in enumerate(runs, start=1):
        row = re.search(f'<tr id="attacks-{number}">(.*?)</tr>', page.text, re.DOTALL)[1]
        assert re.search(f">{run}(</a>)?</td>", row), number
    # Of all evidence the page shows the strongest only: rows keep their numbers.
    shown = [int(name.rpartition("-")[2]) for name in page.ids if name.startswith("evidence-")]
    assert shown and set(shown) <= set(range(1, 1 + len(pd.read_csv(built / "tables" / "evidence.csv"))))


def rows_of(page: "Seen", table: str) -> dict[str, str]:
    """The rows of a page's table, as HTML, by anchor."""
    found = re.findall(rf'<tr id="({table}-\d+)">(.*?)</tr>', page.text, re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("table", ["claims", "statements"])
def test_a_verdict_links_to_the_rows_that_it_stands_on(built, pages, table):
    made = pd.read_csv(built / "tables" / f"{table}.csv", keep_default_na=False)
    rows = rows_of(pages["pages/verdicts.html"], table)
    assert len(rows) == len(made) if table == "claims" else len(rows) == made["statement"].nunique()
    for anchor, row in rows.items():
        links = re.findall(r'<a href="(\w+\.html)#([\w-]+)">([^<]*)</a>', row)
        assert all(place in pages[f"pages/{file}"].ids for file, place, _ in links), anchor
        facts = made.iloc[int(anchor.rpartition("-")[2]) - 1]
        assert links or (table == "statements" and not facts["rests_on"]), f"{anchor}: stands on nothing that is shown"
        for file, place, text in links:
            if place.startswith(("attacks-", "evidence-", "customization-", "claims-")) and place[-1].isdigit():
                own = rows_of(pages[f"pages/{file}"], place.rpartition("-")[0])[place]
                assert text in own or place.startswith("claims-") or text in OF_CLAIMS.values(), (anchor, place)
    if table == "statements":
        whole = "".join(rows.values())
        pieces = [piece for piece in made["evidence"] if piece]
        assert pieces and [piece for piece in pieces if f">{html.escape(piece)}</a>" not in whole] == []
    if table == "claims":
        assert 'href="difficulty.html#search-1">search</a>' in "".join(rows.values())
        assert 'href="attacks.html#attacks-' in rows["claims-1"] and ">darknetz-ft_all</a>" in rows["claims-1"]


def test_the_first_page_says_what_rows_say(built, pages):
    text = pages[site.HOME].text
    said = html.unescape(re.sub("<[^>]+>", "", text))
    claims = pd.read_csv(built / "tables" / "claims.csv")
    for number, claim in enumerate(claims.itertuples(), start=1):
        assert f'href="pages/verdicts.html#claims-{number}"' in text and claim.key.replace("_", " ") in said
    assert Counter(re.findall(r'<a class="(\w+)" href="pages/verdicts', text)) == Counter(
        claims["verdict"].map(grid.CLASSES)
    )
    assert (
        "SOLID's search secures layers 0. An attack (sem) came past half of what was missing with 6,400 queries" in said
    )
    assert "Half came back from up to 1 secured bottom layers (6,400 queries); from 4 or more it did not" in said
    assert re.search(
        r"\(solid, layers 0\) solves \d\d\.\d % \[.*?\] of \d+ problems of \w+.*?, -2\.0 \[.*?\] points beside", said
    )


ROW = {
    "model": "m",
    "deployment": "layers 0",
    "secured": "layers 0",
    "depth": 1,
    "prefix": True,
    "recipe": "r",
    "seed": 1,
}


def curve(attack: str, shares: dict[int, float], **changes) -> list[dict]:
    """Points of one attack by queries."""
    facts = ROW | {"attack": attack} | changes
    return [
        facts | {"steps": n, "queries": n, "tokens": n, "flops": n, "agreement": share, "start_agreement": 0.0}
        for n, share in {0: 0.0, **shares}.items()
    ]


@pytest.fixture
def spent() -> pd.DataFrame:
    rows = curve("sem", {100: 0.6, 400: 0.7}) + curve("ft_all", {8: 0.1}) + curve("stitch", {50: 0.6})
    rows += curve(
        "sem", {100: 0.4, 400: 0.6, 900: 0.9, 2000: 0.9}, depth=2, secured="layers 0-1", deployment="layers 0-1"
    )
    rows += curve("ft_all", {16: 0.1}, deployment="solid", recipe="other")
    points = pd.DataFrame(rows)
    assert set(POINTS) <= set(points)
    return costs.spent(points)


def test_a_matrix_has_a_row_a_set_and_a_column_an_attack(spent):
    shown = matrix.matrix("x", "X", spent)
    assert shown.rows.to_dict("records") == [
        {
            "secured": "layers 0",
            "ft_all": "≥ 16 / ≥ 16",
            "sem": "≤ 100 / ≥ 400",
            "stitch": "50 ? / ≥ 50",
            "best": "≤ 100 / ≥ 400",
        },
        {"secured": "layers 0-1", "ft_all": "", "sem": "400 / 900", "stitch": "", "best": "400 / 900"},
    ]
    assert len(shown.data) == 8 and shown.data["unknown"].sum() == 1
    assert matrix.matrix("x", "X", spent.head(0)).sentence == "No such attack has run."


def test_sentences_say_whether_half_was_reached(spent):
    alone = home.price(home.best(spent[spent["attack"] != "sem"], "m", 1))
    assert "(stitch) came past half" in alone and "50 queries" in alone
    half = home.best(spent, "m", 1)
    assert (half["attack"], half["queries"], half["place"]) == ("sem", 100, 1)
    assert "for at most <a" in home.price(half) and "cost_by_depth-1" in home.price(half)
    assert "up to 2 secured bottom layers" in home.depth("m", spent) and "no deeper set" in home.depth("m", spent)
    short = half.copy()
    short["censored"] = True
    assert "No attack that was tried" in home.price(short) and "with up to <a" in home.price(short)
    shallow = home.depth("m", spent.assign(censored=spent["censored"].astype(object).where(spent["depth"] == 1, True)))
    assert "up to 1 secured" in shallow and "from 2 or more it did not" in shallow
    assert home.best(spent, "m", 3) is None and home.best(spent, "other", 1) is None


def test_a_record_is_a_point_that_beats_all_with_fewer_queries():
    points = pd.DataFrame({"queries": [100, 100, 400, 800, 1600], "recovered": [0.2, 0.5, 0.4, 0.6, 0.1]})
    found = figures_depth.records(points)
    assert list(found["queries"]) == [100, 800, 1600] and list(found["recovered"]) == [0.5, 0.6, 0.6]


def test_items_stand_beside_their_victims(built, pages):
    page = pages["pages/items-toy-layer0-sem.html"]
    assert 'href="../pages/items-toy-layer0-sem.html"' in pages["pages/attacks.html"].text
    rows = pd.read_csv(built / "pages/csv/items-toy-layer0-sem.csv")
    assert sum(name.startswith("i-") for name in page.ids) == len(rows)
    kept = rows[rows["benchmark"] == "evaluation"]
    assert (kept["after"] * kept["weight"]).sum() / kept["weight"].sum() == pytest.approx(ATTACKS["layer0-sem"][6])
    counts = items.by_benchmark(
        pd.DataFrame(
            {"benchmark": "b", "weight": 1, "before": [0.0, 1.0, 0.0], "after": [1.0, 0.0, 0.0], "victim": 1.0}
        )
    )
    assert counts[["gained", "lost", "after %"]].values.tolist() == [["1", "1", "33.3"]]


def test_text_is_escaped_and_a_field_that_is_missing_is_an_error():
    evil = "<img src=x onerror=alert(1)>"
    table = Table("toy", lambda _: None, {evil: (evil, "text")}, lambda rows: evil, introduction=evil, folded=evil)
    rows = pd.DataFrame({"model": ["m"], evil: [evil]})
    macro = site.environment().get_template("parts.html.j2").module.table
    whole = macro(grid.of_table(table, rows, [], {evil: lambda text, _: grid.words(text, lambda _: None)}), "")
    assert "<img src=x" not in whole and whole.count("&lt;img src=x") == 5
    assert grid.anchor('"><', "<b>") == '<a href="&#34;&gt;&lt;">&lt;b&gt;</a>'
    with pytest.raises(jinja2.UndefinedError, match="machine"):
        site.environment().get_template("base.html.j2").render(title="t", root="", here="", chapters=[], notebooks="")


def test_a_point_of_the_audit_that_is_settled_says_so(monkeypatch):
    assert audit.block(2).grids[0].data is not None

    def settled(_):
        raise Resolved("equal now")

    monkeypatch.setattr(audit.audit, "point", settled)
    assert audit.block(2).paragraphs[1] == "Settled: equal now" and not audit.block(2).grids


def test_the_citation_is_that_of_the_file(tmp_path, monkeypatch):
    study, paper = cite.made(None)
    assert (
        study.code.startswith("@software{solid_study,\n  title = {SOLID, re-executed") and "version = {" in study.code
    )
    assert "author = {Huang, Hanbo and Li, Yihan" in paper.code and paper.code.count("{") == paper.code.count("}")
    monkeypatch.setattr(cite, "FILE", tmp_path / "gone.cff")
    assert cite.made(None) == []


SORTED = """(() => {
  const table = document.querySelector("#attacks table");
  const place = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "queries");
  const header = table.tHead.rows[0].cells[place];
  const read = () => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
  header.querySelector("button").click();
  const up = [read(), header.getAttribute("aria-sort")];
  header.querySelector("button").click();
  return [...up, read(), header.getAttribute("aria-sort")];
})()"""
FILTERED = """(() => {
  const input = document.querySelector("#i input");
  input.value = "SUMS 3";
  input.dispatchEvent(new Event("input"));
  const rows = [...document.querySelectorAll("#i tbody tr")].filter((row) => !row.hidden);
  return [rows.map((row) => row.textContent), document.querySelector("#i output").textContent];
})()"""
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = "[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)"
BACK = "getComputedStyle(document.body).backgroundColor"


def test_a_browser_shows_every_page_and_sorts(built, pages, tmp_path):
    with browser(tmp_path / "profile") as tab:
        for width in WIDTHS:
            for name in pages:
                tab.open(built / name, width)
                assert tab.said == [], name
                assert (tab.value(OVER), tab.value(BROKEN)) == (0, []), (name, width)
            tab.open(built / site.HOME, width)
            tab.picture(tmp_path / f"home-{width}.png")  # kept for review
            assert tab.value(BACK) == "rgb(255, 255, 255)"
        tab.open(built / site.HOME, WIDTHS[0], dark=True)
        assert tab.value(BACK) != "rgb(255, 255, 255)"
        tab.picture(tmp_path / "home-dark.png")

        tab.open(built / "pages/attacks.html", WIDTHS[0], anchor="#evidence-1")
        assert tab.value('document.querySelector("#evidence details").open'), "a link to a folded row unfolds it"
        tab.open(built / "pages/attacks.html", WIDTHS[0], anchor="#%")
        assert tab.said == [], "a hash that is no encoding is no error"
        up, ascending, down, descending = tab.value(SORTED)
        known = [int(text) for text in up if text]
        assert known == sorted(known) and len(set(known)) > 2 and (ascending, descending) == ("ascending", "descending")
        assert [int(text) for text in down if text] == known[::-1] and up[-1] == down[-1] == "", "blanks stay last"
        tab.open(built / "pages/items-toy-layer0-sem.html", WIDTHS[0])
        rows, told = tab.value(FILTERED)
        assert rows and all("sums" in row and "3" in row for row in rows) and told.startswith(f"{len(rows)} of ")
        assert tab.said == []
