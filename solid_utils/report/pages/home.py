"""The first page: three sentences from rows of the tables, linked to these, and the verdicts as a strip."""

from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from solid_utils.metrics.attack_cost import ORDER
from solid_utils.report.pages.costs import LEVELS, cheapest_of
from solid_utils.report.pages.grid import CLASSES, anchor
from solid_utils.report.pages.study import Study
from solid_utils.report.table import cell
from solid_utils.report.tables.customization import domain
from solid_utils.report.verdicts import decisive
from solid_utils.report.wording import between, points

FIGURE = "recovered_by_depth"
HALF = LEVELS[0]


@dataclass(frozen=True)
class First:
    """What the first screen says of one model."""

    model: str
    picture: object | None
    sentences: list[Markup]
    verdicts: list[dict]


def firsts(study: Study) -> list[First]:
    """One a model."""
    pictures = {one.model: one for one in study.pictures.get(FIGURE, [])}
    depths = study.costs[study.costs["prefix"].astype(bool)]
    made = []
    for model in study.results.models:
        said = [choice(study, model, depths), depth(model, depths), customer(study, model)]
        made.append(First(model, pictures.get(model), said, strip(study, model)))
    return made


def choice(study: Study, model: str, depths: pd.DataFrame) -> Markup:
    """Where the search ends, and what half of the victim costs with these layers secured."""
    search = study.tables["search"]
    mine = search[search["model"] == model]
    if mine.empty:
        return Markup("SOLID's search for the layers to secure was not run.")
    found = mine.iloc[0]
    ends = anchor(f"pages/difficulty.html#search-{mine.index[0] + 1}", found["secured"])
    half = best(depths, model, found["l_star"])
    if half is None:
        return Markup("SOLID's search secures {}; no attack on these was run to its end.").format(ends)
    return Markup("SOLID's search secures {}. {}").format(ends, price(half))


def price(half: pd.Series) -> Markup:
    """Half of one secured set, in words."""
    queries = anchor(place(half), f"{half['asked']:,.0f} queries")
    if half["unknown"]:
        words = "An attack ({}) came past half of what was missing with {}, the one budget that was tried."
        return Markup(words).format(half["attack"], queries)
    if half["censored"]:
        return Markup("No attack that was tried recovered half of what was missing, with up to {}.").format(queries)
    fewest = "at most " if half["at_most"] else ""
    words = "An attack ({}) recovered half of what was missing, on texts that it never asked for, for {}{}."
    return Markup(words).format(half["attack"], fewest, queries)


def place(half: pd.Series) -> str:
    """Its row of the matrix."""
    return f"pages/attacks.html#cost_by_depth-{half['place']}"


def depth(model: str, depths: pd.DataFrame) -> Markup:
    """How far down half was still recovered, and from where on it was not."""
    sets = depths.loc[depths["model"] == model, "depth"].drop_duplicates()
    halves = [half for count in sets if (half := best(depths, model, count)) is not None]
    fallen = [half for half in halves if half["unknown"] or not half["censored"]]
    if not fallen:
        return Markup("From no number of bottom layers was half recovered.")
    deepest = fallen[-1]
    told = Markup("Half came back from up to {} secured bottom layers ({})").format(
        deepest["depth"], anchor(place(deepest), f"{deepest['asked']:,.0f} queries")
    )
    beyond = [half for half in halves if half["depth"] > deepest["depth"]]
    if not beyond:
        return told + "; no deeper set was attacked."
    most = max(beyond, key=lambda half: half["asked"])
    return told + Markup("; from {} or more it did not, with at most {} tried: that may be the budget.").format(
        min(half["depth"] for half in beyond), anchor(place(most), f"{most['asked']:,.0f}")
    )


def best(depths: pd.DataFrame, model: str, count: int) -> pd.Series | None:
    """The best attacker's row at HALF on so many bottom layers, None without one. `place`: its row of the matrix;
    `asked`: its queries."""
    rows = depths.groupby(ORDER, sort=False)
    for number, ((name, layers, _, _), mine) in enumerate(rows, start=1):
        if name != model or layers != count:
            continue
        found = cheapest_of(mine)
        found = found[found["level"] == HALF]
        found = found.assign(place=number, asked=found["queries"].fillna(found["most"]))
        return None if found.empty else found.iloc[0]
    return None


def customer(study: Study, model: str) -> Markup:
    """What a customer gets beside what he would get from the fully open model."""
    table = study.tables["customization"]
    pooled = decisive(table[(table["model"] == model) & (table["benchmark"] == "all")])
    rows = pooled[pooled["gap_to_fully_open"].notna()]
    if rows.empty:
        return Markup("What the customer still gets was not measured.")
    row = rows.iloc[0]
    href = f"pages/customization.html#customization-{rows.index[0] + 1}"
    after = anchor(href, between(row, "after"))
    problems = f"{cell(row['n'], 'count')} problems of {domain(rows).iloc[0]}"
    words = "A customer who fine-tunes the rest ({}, {}) solves {} of {}, {} points beside the open model."
    gap = points(row, "gap_to_fully_open", "gap_stderr")
    return Markup(words).format(row["deployment"], row["secured"], after, problems, gap)


def strip(study: Study, model: str) -> list[dict]:
    """A claim each: its name, its verdict, and its row."""
    claims = study.tables["claims"].reset_index(drop=True)
    made = []
    for place, row in claims[claims["model"] == model].iterrows():
        href = f"pages/verdicts.html#claims-{place + 1}"
        facts = {"name": row["key"].replace("_", " "), "says": row["verdict"], "claim": row["claim"]}
        made.append(facts | {"kind": CLASSES.get(row["verdict"], ""), "href": href})
    return made
