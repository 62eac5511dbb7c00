"""A figure as it is shown: PNG for documents and notebooks, SVG for pages, as far as that is small."""

import base64
import io
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

DPI = 120
LARGEST = 100_000  # bytes of an SVG; what has more marks is smaller, and scrolls faster, as pixels
# Of matplotlib's settings: names of clip paths, else drawn anew at each run; text as text, which halves the file.
SETTINGS = {"svg.hashsalt": "solid", "svg.fonttype": "none"}
FONT = "'DejaVu Sans'"  # of figures; Verdana, its sister, is where it is not


@dataclass(frozen=True)
class Picture:
    """A figure of one model as PNG, and as SVG where that is no larger than LARGEST; and the sentence beside it."""

    model: str
    name: str
    png: bytes
    sentence: str
    folder: str = ""
    title: str = ""
    svg: bytes = b""

    @property
    def file(self) -> str:
        return f"{self.folder}{self.model}-{self.name}.png"

    @property
    def shown(self) -> str:
        """The file that pages show."""
        return self.file.replace(".png", ".svg") if self.svg else self.file

    @property
    def markup(self) -> Markup:
        """As HTML that needs no other file."""
        image = '<img alt="{text}" style="max-width: 100%" src="data:image/png;base64,{png}">'
        whole = Markup(f"<figure>{image}<figcaption>{{text}}</figcaption></figure>")
        return whole.format(text=self.sentence, png=base64.b64encode(self.png).decode())


def as_png(whole: Figure) -> bytes:
    png = io.BytesIO()
    # Without it matplotlib writes its version into the file.
    whole.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return png.getvalue()


def as_svg(whole: Figure) -> bytes:
    """A figure that was drawn as PNG, as SVG, its layout as it is; nothing where it would be larger than LARGEST."""
    whole.set_layout_engine("none")  # to lay it out again takes most of the time
    svg = io.BytesIO()
    whole.savefig(svg, format="svg", metadata={"Creator": None, "Date": None})
    text = svg.getvalue().replace(FONT.encode(), f"{FONT}, Verdana, sans-serif".encode())
    return text if len(text) <= LARGEST else b""
