"""How to cite this study and the paper, from CITATION.cff; and the licence."""

from pathlib import Path

from solid_utils.report.pages.study import Block, Study
from solid_utils.settings import reading

FILE = Path("CITATION.cff")


def made(_: Study) -> list[Block]:
    """This study and the works that it cites, as BibTeX. Empty where the file is not there."""
    if not FILE.exists():
        return []
    whole = reading.read_file(FILE)
    said = f"{whole['message']} Version {whole['version']}, licence {whole['license']}."
    blocks = [Block("on_study", "This study", (said,), code=entry("software", "solid_study", whole))]
    for number, work in enumerate(whole.get("references", []), start=1):
        made_of = entry("article", f"paper_{number}", work)
        blocks.append(Block(f"on_paper_{number}", "The paper", (work["title"],), code=made_of))
    return blocks


def entry(kind: str, key: str, work: dict) -> str:
    """One BibTeX entry of a work as CITATION.cff describes it."""
    fields = {"title": work["title"], "author": " and ".join(map(author, work["authors"]))}
    fields |= {name: str(work[name]) for name in ("year", "version", "url") if name in work}
    lines = [f"  {name} = " + "{" + value + "}" for name, value in fields.items()]
    return f"@{kind}" + "{" + ",\n".join([key, *lines]) + "\n}"


def author(person: dict) -> str:
    """ "Huang, Hanbo"; a group by its name."""
    if "name" in person:
        return person["name"]
    return f"{person['family-names']}, {person['given-names']}"
