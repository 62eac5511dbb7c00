"""README and docs/: every page is what its template and the result files give, and no digit is typed by hand."""

import io
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from solid_utils.core.errors import StudyError
from solid_utils.report import documents, figures, forecasts, lookups_scale
from solid_utils.report.cells import TEXTS
from solid_utils.report.lookups import FACTS, Lookups

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = documents.shipped()
GENERATED = {"columns.md"}  # by solid_utils/report/dictionary.py, which holds no number
PLACE = r"\d+(\.\d+)*(\([a-z]\))?"  # such as 5.1 or 4(b)
# Digits that are no measurement. Each line: what may stand in a page as it is, and why.
ALLOWED = {
    r"\b(19|20)\d\d\b": "years",
    r"\b\d{4}\.\d{5}\b": "arXiv identifiers",
    r"\b\d+\.\d+\.\d+\b|Python 3\.\d+|\(or 3\.\d+\)|Linux \d\.\d+": "versions",
    r"Apache-2\.0|CC BY-NC 4\.0": "licences",
    r"SmolLM2-\w+|Llama2-\d+B|Llama 2|Phi-[\d.]*\d|Mistral-7B|OPT-350M|GPT-4": "names of models",
    r"\b(7|70)B\b|\b135M\b": "the sizes by which models are called",
    r"\blayers? \d+(-\d+)?((,| and) \d+(-\d+)?)*": "names of layers",
    rf"(Theorem|Tables?|Figures?|[Ss]ections?|Observations?|notebooks?|Step) {PLACE}((,| and| to) {PLACE})*": "places",
    r"\b[ABC]\.\d+(\.\d+)*|\b0\d_[a-z]\w+": "appendices of the paper, notebooks",
    r"bfloat16|float32|(avx|AVX)512\w*|x86_64|aarch64|sha256|UTF-8|Q4_1|4-bit|m@m0": "names of formats and machines",
    r"AES-256-GCM|Ed25519|base64|RFC \d+|int8|DDR5|\bH100\b": "names of standards and parts",
    r"\bC4\b|SQuADv2\w*|GSM8K|pass@1|TruthfulQA-MC1": "names of data and measures",
    r"95 % interval": "the definition of an interval",
    r"\b(100|120|240|400|800|1,600|3,200|6,400) (queries|prompts)": "names of cells: a lookup fails where none ran",
    r"^\| secured \|.*$": "headings that name grid cells",
    r"N\(0, 0\.02\)|N\(0,\s+0\.02\)|Laplace\(0, 0\.5\)|V \+ 0\.02² d / 2|\(1 - |\(1 - a": "formulas",
    r"^\d+\. ": "numbered lists",
    r"\b[CE][1-9]\b": "claims and experiments of the artefact appendix",
}  # fmt: skip
# Decimals that a template may hold in backticks, where code and settings stand: what is measured is a fact or a lookup.
SETTINGS = {
    "0.95": "a bar, or a level",
    "0.9": "the strength that S1 asks",
    "0.05": "the default of --epsilon",
    "0.6": "a share at which items are near-duplicates (data/offline/near.py)",
    "1.0": "a version of the sums tasks, or noise of a boundary",
    "0.1": "noise of a boundary",
    "1.1": "the other version",
    **dict.fromkeys(("5", "3", "2"), "percent of noise, rows of a table"),
}
QUOTED = {"related_work.md": "numbers of other authors, each beside its source, said to be theirs at the top"}


def stripped(text: str) -> str:
    """A template or a page without expressions, code, link targets and comments."""
    for pattern in (
        r"\{\{.*?\}\}",
        r"\{%.*?%\}",
        r"\{#.*?#\}",
        r"^```.*?^```",
        r"<!--.*?-->",
        r"`[^`]*`",
        r"\]\([^)]*\)",
    ):
        text = re.sub(pattern, " ", text, flags=re.DOTALL | re.MULTILINE)
    return text


def typed(text: str) -> list[str]:
    """Digits that nothing allows, each with what stands around it."""
    text = stripped(text)
    for pattern in ALLOWED:
        text = re.sub(pattern, lambda found: " " * len(found[0]), text, flags=re.MULTILINE)
    return [" ".join(text[max(0, one.start() - 25) : one.end() + 15].split()) for one in re.finditer(r"\d+", text)]


def quoted_decimals(text: str) -> set[str]:
    """Plain decimals and percentages in backticks, which pass for code."""
    typed = re.sub(r"\{\{.*?\}\}", " ", text)
    return set(re.findall(r"`-?(\d+\.\d+)`", typed)) | set(re.findall(r"`(\d+)` %", typed))


def unsourced(log: str) -> str:
    """The log without the items that name a commit: that commit's message or code is their source, as its top says."""
    items = re.split(r"\n(?=- |\d+\. |\n|#)", log)
    return "\n".join(item for item in items if not re.search(r"\[[0-9a-f]{7}\b", item))


def sources() -> list[Path]:
    """What people write: every template, and every page that has none."""
    templates = sorted((ROOT / documents.TEMPLATES).glob("*.md"))
    made = {documents.page_of(path) for path in templates}
    pages = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.relative_to(ROOT) not in made]
    return templates + [path for path in pages if path.name not in GENERATED]


@pytest.fixture(scope="module")
def lookups() -> Lookups:
    return Lookups(SHIPPED, SHIPPED / "tables")


@pytest.fixture(scope="module")
def pages(lookups) -> dict[Path, str]:
    return documents.render(lookups)


@pytest.fixture
def copy(tmp_path) -> Path:
    """The shipped run, each file a link, so that a test may put another file in the place of one; other machines' cells
    lie beside it, as pages quote them, too."""
    for other in SHIPPED.resolve().parent.iterdir():
        if other != SHIPPED.resolve():
            (tmp_path / other.name).symlink_to(other)
    return Path(shutil.copytree(SHIPPED.resolve(), tmp_path / "box", copy_function=os.symlink))


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf8")
    assert old in text
    path.unlink()
    path.write_text(text.replace(old, new), encoding="utf8")


def test_no_measured_decimal_hides_in_backticks():
    """A number in backticks passes for code, so it escapes `typed`; whole numbers there are budgets and counts."""
    for path in sorted((ROOT / documents.TEMPLATES).glob("*.md")):
        assert quoted_decimals(path.read_text(encoding="utf8")) <= set(SETTINGS), path
    assert quoted_decimals("it won `8.9` times and `12` %, by `--lr 0.1` and {{ fact('`7.5`') }}") == {"8.9", "12"}


def test_every_page_is_what_the_result_files_give(pages):
    for page, text in pages.items():
        assert page.read_text(encoding="utf8") == text, f"{page}: start `make tables`, and mend its template only"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("grid/smollm2-135m/stitch-layers_0-stitch-100-42.csv", "0.672428510", "0.682428510"),  # agreement on C4
        ("runs/smollm2-135m/attacks/layer0-sem/scores.csv", "0.2251023192", "0.2351023192"),  # on code
        ("tables/search.csv", "12.22729171", "12.32729171"),
        ("beyond/tables/attacks.csv", "1.45462389", "1.46462389"),
    ],
)
def test_another_digit_in_a_result_file_is_another_page(copy, pages, file, old, new):
    replaced(copy / file, old, new)
    changed = documents.render(Lookups(copy, copy / "tables"))
    assert changed[Path("docs/findings.md")] != pages[Path("docs/findings.md")]


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_no_digit_is_typed_by_hand(path):
    text = path.read_text(encoding="utf8")
    if path.name in QUOTED:
        assert "Numbers on this page are the authors' own" in text
        return
    assert typed(unsourced(text) if path.name == "LOG.md" else text) == []


def test_the_check_sees_what_is_typed():
    assert len(typed("It recovers 79.9 % of layer 0 (64 of 397) with 1,524 queries, 2.6 GB in 33 min")) == 9
    assert typed("layers 0-3 and 14 of Phi-1.5, Tables 1, 2 and 14, section 5.1, B.2, Figures 4(b) and 8") == []
    assert typed("100 queries of `12` on bfloat16 {{ x | pct(0) }} {% if 3 %} [a](b1.md)") == []
    assert typed("```\n12\n```\n95 % intervals, Apache-2.0, arXiv 2505.02819, 2026") == []
    log = "- **A.** 1.5 times [441f4b0].\n- **B.** 8 bits.\n\n1. 3 GB\n   [9b6f2ee].\n2. Then 4."
    assert re.findall(r"\d+", unsourced(log)) == ["8", "2", "4"]


def test_shipped_tables_hold_what_the_raw_scores_give(lookups):
    """A score that changes below a table which nobody made again would else go unseen."""
    fidelity = lookups.table("fidelity")
    for row in fidelity.to_dict("records"):
        text = {"all": "pooled"} | {name: text for text, name in TEXTS.items()}
        assert lookups.agreement(row["run"], text[row["prompts"]]) == pytest.approx(row["agreement"], abs=1e-9)
        assert lookups.regained(row["run"], text[row["prompts"]]) == pytest.approx(row["recovered_share"], abs=1e-9)
    cells = {id(run) for runs in lookups.grid.values() for run in runs}
    assert lookups.cell_counts()["run"] == len(cells)


def test_every_figure_of_a_page_is_drawn_from_the_result_files(pages, lookups):
    shown = documents.figures(pages)
    assert shown == {path.name for path in (ROOT / documents.FIGURES).iterdir()}
    tables = {name: lookups.table(name) for name in ("attack_points", "scale_cost", "holding", "boundaries", "turns")}
    for name in shown:
        model, _, figure = name.removesuffix(".png").rpartition("-")
        drawn = figures.picture(figure, tables, model)
        again, kept = (plt.imread(source) for source in (io.BytesIO(drawn.png), ROOT / documents.FIGURES / name))
        # Another kind of CPU smooths an edge one shade differently; what moved is off by all of black and white.
        assert again.shape == kept.shape and abs(again - kept).max() < 0.05, f"{name}: start `make tables`"


def test_every_fact_is_whole_and_asked_for(lookups):
    asked = "".join(path.read_text(encoding="utf8") for path in sources())
    by_table = tuple(f"score_{score}_" for score in forecasts.SCORES)  # of the table `forecasts`, column seconds
    for name, fact in lookups.facts.iterrows():
        assert f'fact("{name}")' in asked or name.startswith(by_table), f"{FACTS}: nobody asks for {name}"
        assert all(fact[["value", "unit", "command", "machine"]]), f"{FACTS}: {name} lacks a column"


def test_a_page_that_asks_for_what_is_not_there_is_one_line(lookups, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/templates").mkdir(parents=True)
    page = tmp_path / "docs/templates/README.md"
    for text, said in [
        ("{{ recoverd(1) }}", "README.md: 'recoverd' is undefined"),
        ('{{ row("search", start="none").dd }}', "table search: 0 rows with"),
        ('{{ row("search", start="xavier").nothing | num }}', "README.md: .*nothing"),
        ('{{ run("victim").recovered_share | pct }}', "a number is unknown"),
        ('{{ recovered("layers 5", "sem", 400) }}', "no cell"),
    ]:
        page.write_text(text)
        with pytest.raises(StudyError, match=said):
            documents.render(lookups)


def test_writing_makes_pages_and_figures_of_the_shipped_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/templates").mkdir(parents=True)
    (tmp_path / "docs/templates/README.md").write_text("{{ (1 / 3) | num }}\n![a](docs/figures/toy-b.png)\n")
    made = tmp_path / "made"
    with pytest.raises(StudyError, match="toy-b.png: no report has this figure"):
        documents.write(tmp_path, made)
    (made / "figures").mkdir(parents=True)
    (made / "figures/toy-b.png").write_bytes(b"png")
    assert documents.write(tmp_path, made) == [Path("README.md")]
    assert (tmp_path / "docs/figures/toy-b.png").read_bytes() == b"png"
    assert (tmp_path / "README.md").read_text().splitlines()[0] == documents.NOTE.format(name="README.md").strip()


def test_a_hypothesis_at_several_lengths_is_told_the_shortest_first(lookups):
    steps = [int(one["what"].split(" ")[0]) for one in lookups.outcomes_of("H5", "smollm2-135m")]
    assert len(steps) == 2 and steps == sorted(steps)
    with pytest.raises(StudyError, match="no H5 of gemma-270m; ask for one that ran"):
        lookups.outcomes_of("H5", "gemma-270m")


def test_what_a_machine_ran_is_counted_by_seeds(lookups):
    cells = Path("reference/nvidia-h200/customization").rglob("*-tuned*.items.csv")
    own = Path("reference/nvidia-h200/customization").rglob("*-lora-*.items.csv")
    attacks = Path("reference/nvidia-h200/published_adapters").rglob("*-42.csv")
    assert lookups.ran_on("nvidia-h200") == (len([*cells, *own]), len([*attacks]))
    assert lookups.ran_on("another") == (0, 0)


def test_the_first_layers_share_of_dd_is_of_bottom_sets_alone(lookups):
    path = next(Path("reference").glob("*/scale/gemma-270m/dd.csv"))
    rows = pd.read_csv(path, dtype={"seed": str}).query("seed == 'mean' and lowest == 0").set_index("secured")["dd"]
    assert lookups.first_layers_share("gemma-270m") == pytest.approx(rows["layers 0"] / rows.max())
    with pytest.raises(StudyError, match=r"dd.csv of nobody: no first layer; run"):
        lookups.first_layers_share("nobody")


def test_what_is_no_bottom_set_has_no_say_in_the_first_layers_share(lookups, monkeypatch):
    rows = [(0, 1, 8.0), (0, 2, 10.0), (5, 1, 99.0)]
    table = pd.DataFrame(rows, columns=["lowest", "depth", "dd"]).assign(model="m", seed="mean", only_layers=True)
    monkeypatch.setattr(lookups_scale.scale, "load", lambda: SimpleNamespace(difficulty=table))
    assert lookups.first_layers_share("m") == 0.8
