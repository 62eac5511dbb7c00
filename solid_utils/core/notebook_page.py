"""An executed notebook as a person sees it: progress that is over is one line, math is drawn, and a page opens offline.

Progress bars belong to the terminal, which rewrites a line; a notebook keeps every state of it, hundreds of them.
"""

import copy
import posixpath
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from latex2mathml import converter
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from solid_utils.core import files
from solid_utils.core.errors import StudyError

LOOK = Path(__file__).parent / "study"  # templates
LIST = "notebooks.html.j2"
STYLE = "study.css"  # of every page of the study, the report's too
BAR = re.compile(r"(?P<name>[^\r\n|]*?):? *\d+%\|[^|\n]*\| (?P<done>\S+)/(?P<all>\S+) \[[^\]\n]*\]")
STEP = re.compile(r"step \d+/\d+, \S+ s a step, \S+ s left")  # of training, on stdout: see training.Progress
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)  # in Markdown; what stands there is no math
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<![\s\\])\$(?!\w)")
HEADING = re.compile(r'<h[23][^>]* id="([^"]+)"[^>]*>(.*?)<a class="anchor-link"', re.DOTALL)
CONTENTS = "studycontents"  # in the template, where the list of headings belongs
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#/])[^()\s]+")  # in Markdown, to a file beside or above the notebook
SOURCES = "../../notebooks"  # seen from build/executed
REPORT = Path("../../results/report.html")
INDEX = "index.html"


def tidied(notebook: NotebookNode) -> NotebookNode:
    """The same where each finished progress bar is one line, "sweep: 40 of 40"; bars without a name go.

    So do the lines of a training that tell the time left; it says itself when it is over, "training: 30 of 30". How
    long it took is left out: no two runs agree on it. Expects streams as a terminal leaves them (nbclient's
    `coalesce_streams`).
    """
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = SHORT[output.name](output.text)
                if not output.text:
                    continue
            kept.append(output)
        if "outputs" in cell:
            cell.outputs = kept
    return notebook


def _closed(text: str) -> str:
    lines = []
    for line in text.split("\n"):
        line = line.rpartition("\r")[2].rstrip()
        match = BAR.fullmatch(line.strip())
        if match:
            line = f"{match['name']}: {match['done']} of {match['all']}" if match["name"] else ""
        if line and not (match and line in lines):  # the same work done again is said once
            lines.append(line)
    return "\n".join(lines) + "\n" * bool(lines)


def _ended(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not STEP.fullmatch(line.strip()))


SHORT = {"stderr": _closed, "stdout": _ended}


def moved(notebook: NotebookNode) -> NotebookNode:
    """The same with its links to files as they are seen from build/executed, where it lies from now on."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts = CODE.split(cell.source)  # every second one is code
            parts[::2] = [
                LINK.sub(lambda found: posixpath.normpath(f"{SOURCES}/{found[0]}"), one) for one in parts[::2]
            ]
            cell.source = "".join(parts)
    return notebook


class Formulas:
    """$...$ and $$...$$ of Markdown, taken out before it becomes HTML and put back as MathML, which browsers draw.

    nbconvert reads each tag of a text by itself, so that MathML in Markdown would come out as empty tags.
    """

    def __init__(self):
        self.drawn: list[str] = []

    def taken_from(self, text: str) -> str:
        """The text with a mark for each formula. Raises StudyError where one cannot be read."""
        parts = CODE.split(text)  # every second one is code
        for number in range(0, len(parts), 2):
            parts[number] = DISPLAY.sub(lambda found: self.mark(found[1], "block"), parts[number])
            parts[number] = INLINE.sub(lambda found: self.mark(found[1], "inline"), parts[number])
        return "".join(parts)

    def mark(self, formula: str, display: str) -> str:
        try:
            drawn = converter.convert(" ".join(formula.split()), display=display)
        except Exception as error:  # the library has twelve classes of them, with nothing in common
            raise StudyError(
                f"notebook: ${formula}$: no formula that latex2mathml reads ({type(error).__name__}); mend it"
            ) from None
        if unknown := re.search(r"\\[A-Za-z]+", drawn):
            raise StudyError(f"notebook: ${formula}$: latex2mathml does not know {unknown[0]}; write it otherwise")
        self.drawn.append(drawn)
        return f"studyformula{len(self.drawn) - 1:05}"

    def put_back(self, page: str) -> str:
        # A heading's formula stands in its anchor too, where no tag may stand.
        page = re.sub(r'(id|href)="[^"]*"', lambda found: found[0].replace("studyformula", "formula-"), page)
        return re.sub(r"studyformula(\d{5})", lambda found: self.drawn[int(found[1])], page)


def page(notebook: NotebookNode, name: str, following: str = "") -> str:
    """The notebook as one HTML file that loads nothing; `name` is its title, `following` the next one's number."""
    formulas = Formulas()
    marked = copy.deepcopy(notebook)
    for cell in marked.cells:
        if cell.cell_type == "markdown":
            cell.source = formulas.taken_from(cell.source)
    exporter = HTMLExporter(embed_images=True, extra_template_basedirs=[str(LOOK.parent)], template_name=LOOK.name)
    resources = {"metadata": {"name": name}, "study": {"links": links(following)}}
    text, _ = exporter.from_notebook_node(marked, resources=resources)
    found = [(re.sub("<[^>]+>", "", title).strip(), place) for place, title in HEADING.findall(text)]
    # An anchor's name is known once its heading is drawn, so the list above all of them is put in afterwards.
    listed = "".join(f'<li><a href="#{place}">{title}</a></li>' for title, place in found)
    return formulas.put_back(text.replace(CONTENTS, listed, 1))


def links(following: str = "") -> list[tuple[str, str]]:
    """Where one goes from here: the report, all notebooks, and the next one, if there is one."""
    found = [("The study's page", str(REPORT)), ("All notebooks", INDEX)]
    return [*found, ("Next notebook", f"{INDEX}#{following}")] if following else found


def write_index(folder: Path) -> None:
    """index.html beside the executed notebooks: all that are there, by number."""
    pages: dict[str, list[str]] = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.html")):
        pages.setdefault(path.name[:2], []).append(path.stem)
    template = Environment(loader=FileSystemLoader(LOOK), autoescape=True, trim_blocks=True).get_template(LIST)
    look = (LOOK / STYLE).read_text(encoding="utf8")
    files.write_text(template.render(pages=pages, report=REPORT, look=look), folder / INDEX)
