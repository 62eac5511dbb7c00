"""README and docs/: links lead somewhere, commands and paths exist, the dictionary of columns is current."""

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pydantic import ValidationError

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.model.structure import layer_parameters
from solid_utils.report import dictionary
from solid_utils.report.meanings import CUSTOMERS, DEPLOYMENT, MEANING, OF_THE_PAPER, SCORES, VENDOR

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST = 160  # lines of the README
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MADE = {"build", "results", "checkpoints", "data", ".venv"}  # git-ignored: there after a run only
TOP = {path.name for path in ROOT.iterdir()} - MADE
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def prose(page: Path) -> str:
    """A page without its fenced code."""
    return FENCE.sub("", page.read_text(encoding="utf8"))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    dead = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_file() or not target.is_relative_to(ROOT) or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


def lost_paths(text: str) -> list[str]:
    """Paths in backticks that no file of the repository has. Words in capitals stand for any name."""
    return [path for path in re.findall(r"`([^`\s]+)`", text) if is_path(path) and not exists(path)]


def is_path(token: str) -> bool:
    return token.split("/")[0] in TOP and ("/" in token or "." in token)


def exists(path: str) -> bool:
    pattern = re.sub(r"[A-Z]{2,}", "*", path.rstrip("/"))
    return (ROOT / path).exists() or any(ROOT.glob(pattern))


def unknown_commands(text: str) -> list[str]:
    """`make TARGET` without such a target, and `python -m MODULE` without such a module of this package."""
    targets = set(re.findall(r"(?:`|^|&& |\()make ([a-z]+)", text, re.MULTILINE)) - TARGETS
    modules = set(re.findall(r"-m (solid_utils[\w.]*)", text))
    return sorted(targets) + sorted(module for module in modules if not runs(module))


def runs(module: str) -> bool:
    """Does `python -m` of it do something?"""
    path = ROOT / module.replace(".", "/")
    own = path.with_suffix(".py")
    return (path / "__main__.py").exists() or (own.exists() and "__main__" in own.read_text(encoding="utf8"))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf8").splitlines()) <= LONGEST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_command_exists(page):
    assert lost_paths(prose(page)) == []
    assert unknown_commands(page.read_text(encoding="utf8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_folder_of_one_machine(page):
    assert re.findall(r"/(?:work|root|home|tmp)\b\S*", page.read_text(encoding="utf8")) == []


def test_every_page_stands_in_the_index():
    index = ROOT / "docs" / "README.md"
    named = {link.partition("#")[0] for link in LINK.findall(prose(index))}
    assert {page.name for page in PAGES[1:]} - {"README.md"} <= named


def test_versions_stand_in_the_changelog():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "docs" / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == versions[0]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] in versions


def test_the_checks_see_what_is_wrong(tmp_path):
    page = ROOT / "docs" / "README.md"
    assert anchors(page) == {"the-documentation", "words"}
    there = "`docs/LOG.md` `tests/ROOM/test_MODULE.py` `results/made/later` `not/ours.py`"
    assert lost_paths(there + " `solid_utils/gone.py`") == ["solid_utils/gone.py"]
    commands = "`make study` `make tea` they make up; python -m solid_utils.grid -m solid_utils.core.paths"
    assert unknown_commands(commands) == ["tea", "solid_utils.core.paths"]
    wrong = tmp_path / "page.md"
    wrong.write_text("[a](gone.md) [b](#no) [c](https://example.org)\n```\n[d](code.md)\n```\n")
    assert dead_links(wrong) == ["gone.md", "#no"]


def test_the_dictionary_is_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (ROOT / dictionary.PAGE).read_text(encoding="utf8") == dictionary.page(), (
        "start `python -m solid_utils.report.dictionary --write`"
    )


def test_every_column_has_a_meaning_and_every_meaning_a_column(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = dictionary.files()
    used = {dictionary.entry(file, column) for file, columns in found.items() for column in columns}
    assert used == set(MEANING)
    for columns in (schema.SCORES, schema.ITEMS, schema.CURVE, schema.ANSWERS, schema.LEAKS, schema.DD):
        assert columns in found.values()
    for meaning in MEANING.values():
        assert all(meaning) and "|" not in "".join(meaning)


def test_no_word_has_two_meanings(monkeypatch):
    # The parts are laid over each other: of a word that stands in two of them one meaning would be lost.
    text = (ROOT / "solid_utils/report/meanings.py").read_text(encoding="utf8")
    own = set(re.findall(r'^    "([\w.]+)": \(', text, re.MULTILINE))
    parts = [own, *map(set, (CUSTOMERS, DEPLOYMENT, OF_THE_PAPER, SCORES, VENDOR))]
    for number, part in enumerate(parts):
        for other in parts[number + 1 :]:
            assert not part & other
    assert len(own) > 100 and set().union(*parts) == set(MEANING)


def test_a_column_without_a_meaning_is_one_line():
    with pytest.raises(StudyError, match="scores.csv: no meaning for the column 'colour'"):
        dictionary.entry("scores", "colour")
    assert dictionary.entry("attacks", "recovered_share_low") == "recovered_share"
    assert dictionary.entry("grid_cells", "run") == "grid_cells.run" and dictionary.entry("attacks", "run") == "run"


def test_the_attack_of_contributing_works(llama, samples):
    """The example is code: it is declared, and trains the secured layer and the one above, and nothing else."""
    text = (ROOT / "docs/CONTRIBUTING.md").read_text(encoding="utf8")
    made: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], made)
    declared = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])["layer0-ft_top"]
    attack = made["FtTop"].model_validate(declared)
    secured = secured_set(llama, declared["secured"])
    run = SimpleNamespace(secured=secured, seen=view(llama, secured), samples=samples)
    names = attack.plan(llama, run, None).trainable
    assert names == {name for layer in layer_parameters(llama)[:3] for name in layer}
    with pytest.raises(ValidationError):
        made["FtTop"].model_validate(declared | {"layer": 2})
