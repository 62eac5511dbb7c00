"""Links of HTML pages on a disk: those that lead to no file, or to no anchor of a page."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote


class Links(HTMLParser):
    """What a page links to, and its anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.places: list[str] = []
        self.ids: set[str | None] = set()
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if tag == "a" and (place := attrs.get("href")):
            self.places.append(place)


def dead(pages: list[Path]) -> list[str]:
    """ "page: link" of each relative link that leads nowhere."""
    read = cache(Links)
    return [f"{page.name}: {place}" for page in pages for place in read(page).places if not _leads(page, place, read)]


def _leads(page: Path, place: str, read) -> bool:
    if place.startswith(("http:", "https:", "mailto:", "data:")):
        return True
    file, _, anchor = place.partition("#")
    target = (page.parent / unquote(file)).resolve() if file else page
    if not target.exists():
        return False
    # A browser looks for the anchor as it is written, then for what it stands for.
    return not anchor or target.suffix != ".html" or bool({anchor, unquote(anchor)} & read(target).ids)
