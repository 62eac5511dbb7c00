"""The chapters in their order: which tables of the catalogue each shows, and what is made for it alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from solid_utils.report import catalogue
from solid_utils.report.pages import audit, cite, game, matrix, plan, statements, theory
from solid_utils.report.pages.study import Block, Study

Made = Callable[[Study], Block | list[Block]]
NOT_SHOWN = {"attack_cost"}  # the matrices say it in a tenth of the rows


@dataclass(frozen=True)
class Chapter:
    """A page. asks: what it answers, in a sentence. parts: what it is made of, in order."""

    name: str
    title: str
    asks: str
    parts: tuple[Made, ...]

    @property
    def file(self) -> str:
        return f"pages/{self.name}.html"

    def blocks(self, study: Study) -> list[Block]:
        """All that stands on it; what has nothing to show is left out."""
        blocks = []
        for part in self.parts:
            made = part(study)
            blocks += made if isinstance(made, list) else [made]
        return [block for block in blocks if block.grids or block.paragraphs or block.code]


def section(name: str, only: Iterable[str] = (), without: Iterable[str] = (), title: str = "") -> Made:
    """A section of the catalogue with all tables that it shows, or `only` these, or all but those `without`."""
    chosen = frozenset(only)
    left_out = frozenset(without) | NOT_SHOWN

    def made(study: Study) -> Block:
        found = catalogue.SECTIONS[name]
        names = [table.name for table in found.shown if table.name not in left_out]
        names = [one for one in names if one in chosen or not chosen]
        paragraphs = () if chosen else found.paragraphs
        anchor = "_".join(names) if chosen else name
        return Block(f"on_{anchor}", title or found.title, paragraphs, [study.grid(one) for one in names])

    return made


CHAPTERS = (
    Chapter(
        "verdicts",
        "Verdicts",
        "What the paper claims, what we measured, and the rule by which each claim is judged.",
        (section("claims"), statements.made),
    ),
    Chapter(
        "difficulty",
        "Difficulty",
        "How hard is a start without the secured layers, where does the search end, and what does the score foretell?",
        (
            section("difficulty"),
            section("cost", only=["difficulty_ranks"], title="Does difficulty rank the cost?"),
        ),
    ),
    Chapter(
        "attacks",
        "Attacks and costs",
        "How much of the victim comes back, by which attack, and for how many queries?",
        (
            matrix.by_depth,
            section("cost", without=["difficulty_ranks"], title="Equal budgets"),
            section("attacks"),
            section("benchmarks"),
            section("grid", only=["leaks"], title="What logits give away"),
        ),
    ),
    Chapter(
        "placement",
        "Placement",
        "Does it matter where the secured layers lie?",
        (
            matrix.by_place,
            section("grid", only=["grid_placement"], title="Does difficulty rank places and depths?"),
            matrix.others,
        ),
    ),
    Chapter(
        "scale",
        "Scale",
        "Does it hold for larger victims, and what came of the hypotheses that were written down before?",
        (section("size"), section("scale")),
    ),
    Chapter(
        "customization",
        "Customization",
        "What can the customer still do with the open part?",
        (section("customization"),),
    ),
    Chapter(
        "deployment",
        "A deployment",
        "What does a split model cost, and what does a defence at its boundary take from an attacker who knows of it?",
        (section("deployment"), section("vendor")),
    ),
    Chapter(
        "theory",
        "Theory",
        "What do Theorem 1 and its proof say, step by step, when they are computed? And what is a thief's advantage?",
        (theory.made, game.made),
    ),
    Chapter(
        "paper",
        "The paper's tables",
        "Every table and figure of the paper, and what stands beside it here.",
        (section("published"),),
    ),
    Chapter(
        "audit",
        "Audit",
        "Where do the published numbers contradict one another, or the text?",
        (audit.made,),
    ),
    Chapter(
        "plan",
        "Grid plan",
        "Which cells of the attack grid were planned, which ran, and what a recipe's parts do.",
        (section("grid", without=["grid_placement", "leaks"]), plan.made),
    ),
    Chapter(
        "cite",
        "How to cite",
        "This study, the paper that it re-executes, and the machine that these numbers are from.",
        (cite.made,),
    ),
)
