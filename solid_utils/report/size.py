"""What half of a victim costs a thief, by the victim's size and by how many bottom layers are secured."""

import pandas as pd

from solid_utils.paper import paper
from solid_utils.report import results, scale

LEVEL = 0.5  # of what stands above what public text gives
KINDS = ("own", "c4")  # texts of the attack's kind, and web text that it never asked for
TABLE = ["model", "model_parameters", "depth", "secured"]
TABLE += [f"{name}_{kind}" for kind in KINDS for name in ("attack", "queries", "reached", "at_most", "most")]


def costs(cells: pd.DataFrame) -> pd.DataFrame:
    """A row a victim and bottom set, smallest victim first, columns TABLE.

    queries_KIND: the fewest with which an attack's mean over draws came to LEVEL; where none did (not `reached`), the
    most that were given to the attack that got most, which may be fewer than a weaker attack had. `at_most`: the fewest
    that were tried sufficed already. `most`: the largest share that any attack recovered there, and by which `attack`,
    if half was not reached.
    """
    bottom = results.prefix(cells) if len(cells) else cells.index
    points = scale.points(cells.loc[bottom])
    rows = []
    for (model, depth), mine in points.groupby(["model", "depth"], sort=False):
        own = cells[(cells["model"] == model) & (cells["depth"] == depth)].iloc[0]
        facts = {"model": model, "model_parameters": round(own["parameters"] / own["share"]), "depth": depth}
        facts["secured"] = mine["secured"].iloc[0]
        for kind in KINDS:
            facts |= {f"{name}_{kind}": value for name, value in cheapest(mine, f"{kind}_above").items()}
        rows.append(facts)
    table = pd.DataFrame(rows, columns=TABLE)
    return table.sort_values(["model_parameters", "depth"], ignore_index=True)


def cheapest(points: pd.DataFrame, column: str) -> dict:
    """The fewest queries of one set's points with which `column` comes to LEVEL, see `costs`."""
    reached = points[points[column] >= LEVEL]
    best = points.loc[points[column].idxmax()]
    chosen = reached.loc[reached["queries"].idxmin()] if len(reached) else best
    alike = points[(points[["attack", "recipe"]] == best[["attack", "recipe"]]).all(axis=1)]
    queries = chosen["queries"] if len(reached) else alike["queries"].max()
    first = len(reached) > 0 and queries == points["queries"].min()
    facts = {"attack": chosen["attack"], "queries": queries, "reached": len(reached) > 0, "at_most": first}
    return facts | {"most": best[column]}


def half(row: pd.Series, kind: str) -> str:
    """Queries to half in words: "25", "<= 10" where the fewest tried sufficed, "> 1,600" where that many did not."""
    sign = "" if row[f"reached_{kind}"] else "> "
    sign = "<= " if row[f"at_most_{kind}"] else sign
    return f"{sign}{row[f'queries_{kind}']:,.0f}"


def papers_queries() -> tuple[int, int]:
    """The smallest and largest attack set of the paper, which it says to fail on SOLID (Table 25)."""
    sizes = []
    for attack in paper.result_table(25)["attack"].unique():
        thousands = attack.rsplit("-", 1)[1].removesuffix("K")
        sizes.append(1000 * int(thousands))
    return min(sizes), max(sizes)
