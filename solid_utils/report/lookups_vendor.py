"""What a document may ask of sets that hold and of defences: rows of their tables, in the order that a page shows."""

import pandas as pd

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.paper.confidential import OVERHEADS
from solid_utils.report import holding, vendor
from solid_utils.report.tables import vendor_tries


def one_place(table: pd.DataFrame, secured: str) -> pd.DataFrame:
    """Rows of one set, of the first model and machine that have it."""
    mine = table[table["secured"] == secured]
    return mine[(mine[["model", "machine"]] == mine[["model", "machine"]].iloc[0]).all(axis=1)] if len(mine) else mine


class VendorLookups:
    """A part of lookups.Lookups, which gives it `table`."""

    def held(self) -> list[dict]:
        """A victim each: how many sets of at most a tenth of the parameters were attacked, and hold; of these the one
        of which `least` was taken; and the smallest set that holds (`first`), None each where there is none."""
        told = []
        for model, rows in self.table("holding").groupby("model", sort=False):
            small = rows[rows["small"]]
            standing = rows[rows["holds"]]
            first = standing.loc[standing["share"].idxmin()].to_dict() if len(standing) else None
            least = small.loc[small["taken"].idxmin()].to_dict() if len(small) else None
            told.append(
                {"model": model, "small": len(small), "hold": small["holds"].sum(), "least": least, "first": first}
            )
        return told

    def bottom_sets(self) -> list[dict]:
        """Rows of `holding` that secure the bottom layers, whole, and nothing else, by victim and depth."""
        table = self.table("holding")
        bottom = table["only_layers"] & (table["lowest"] == 0) & (table["depth"] == table["highest"] + 1)
        return [
            row | {"half": "" if pd.isna(row["queries_half"]) else f"{row['queries_half']:,.0f}"}
            for row in table[bottom].to_dict("records")
        ]

    def other_places(self, queries: int) -> list[dict]:
        """A victim each, of pairs of layers in a row, each by the attack of at most so many queries that took most of
        C4: the `bottom` one, and of the others the one of which `least` was taken; rows of `scale`."""
        rows = self.table("scale")
        pairs = rows[rows["only_layers"] & (rows["depth"] == 2) & (rows["highest"] == rows["lowest"] + 1)]
        pairs = pairs[(pairs["queries"] <= queries) & pairs["c4_above"].notna()]
        most = pairs.loc[pairs.groupby(["model", "secured"], sort=False)["c4_above"].idxmax()]
        told = []
        for model, mine in most.groupby("model", sort=False):
            bottom, others = mine[mine["lowest"] == 0], mine[mine["lowest"] > 0]
            if len(bottom) and len(others):
                least = others.loc[others["c4_above"].idxmin()].to_dict()
                keeps = bool(bottom.iloc[0]["c4_above"] < least["c4_above"])
                told.append({"model": model, "bottom": bottom.iloc[0].to_dict(), "least": least, "bottom_keeps": keeps})
        return told

    def half_of_first(self) -> dict:
        """The fewest and the most queries for half of a victim's first layer, over victims."""
        table = self.table("holding")
        half = table[table["secured"] == "layers 0"]["queries_half"]
        return {"least": half.min(), "most": half.max()}

    def counted_ends(self) -> list[dict]:
        """The table `ends`, how many bottom layers fit in words."""
        rows = self.table("ends").to_dict("records")
        return [row | {"fit": "" if pd.isna(row["bottom_layers"]) else f"{row['bottom_layers']:.0f}"} for row in rows]

    def first_within(self) -> dict:
        """The smallest shape of which embeddings and one layer are at most a tenth."""
        rows = self.table("ends")
        within = rows[rows["share_both"] <= vendor.WITHIN]
        return within.loc[within["model_parameters"].idxmin()].to_dict()

    def defences(self) -> list[dict]:
        """Each defence of the table `boundaries` in one row: the customer's columns, and `thief`, the strongest row."""
        table = self.table("boundaries")
        thieves = table[table["strongest"].astype(bool)].set_index(vendor.DEFENCE)
        told = []
        for row in table[table["attack"] == vendor.NONE].to_dict("records"):
            thief = thieves.loc[tuple(row[name] for name in vendor.DEFENCE)].to_dict()
            told.append(row | {"defence": vendor.named(row), "thief": thief})
        return told

    def served(self, secured: str) -> dict[str, dict]:
        """Rows of the table `served` of one set, by defence; of the first model and machine that have it."""
        rows = one_place(self.table("served"), secured).to_dict("records")
        return {vendor.named(row): row for row in rows}

    def pieces(self) -> list[dict]:
        """Of each set of the table `pieces` the way to fit that got most, by layers and pieces."""
        rows = vendor_tries.best_of_each(self.table("pieces"))
        return rows.sort_values(["depth", "pieces"], kind="stable").to_dict("records")

    def turns(self) -> list[dict]:
        """A pair of bottoms each: the customer's row of the table `turns`, and `thieves`: those by the map by how they
        adapt, and `sem_linear`; None where that has no row."""
        told = []
        for _, mine in self.table("turns").groupby(vendor.PAIR):
            thieves = dict.fromkeys(("no", "mean", "apart", "sem_linear"))
            for row in mine[mine["attack"] != vendor.NONE].to_dict("records"):
                thieves[row["adapts"] if row["attack"] == "linear map" else row["attack"]] = row
            told.append(mine[mine["attack"] == vendor.NONE].iloc[0].to_dict() | {"thieves": thieves})
        return told

    def rotated(self, exported: str, attack: str) -> dict:
        """One row of the table `rotation`."""
        return self.row("rotation", exported=exported, attack=attack)

    def monitored(self) -> list[dict]:
        """A window size each: the share called strange by traffic, the most over what it was drawn from; of a thief who
        hides the least, as he chooses behind what."""
        told = []
        for window, mine in self.table("monitor").groupby("window"):
            mean = mine[mine["traffic"] == "known domain"]["alarms"].mean()
            called = vendor.called_strange(mine)
            if lacking := [name for name in vendor.HIDDEN if name not in called]:
                again = "run `python -m solid_utils.runtime.monitor` again"
                raise StudyError(f"{paths.MONITOR_FILE}: no traffic '{lacking[0]}'; {again}")
            told.append({"window": window, "mean_known": mean} | called)
        return told

    def query_length(self, traffic: str) -> float:
        """Tokens a query of one kind of traffic, mean over what it was drawn from."""
        mine = self.table("monitor")
        mine = mine[(mine["traffic"] == traffic) & (mine["window"] == mine["window"].min())]
        return mine["tokens"].sum() / mine["texts"].sum()

    @staticmethod
    def vendor_bars() -> dict:
        """What a set that holds has to meet, and a defence: holding and vendor."""
        bars = {"within": holding.WITHIN, "small": holding.SMALL, "most": holding.MOST}
        return bars | {"worse": vendor.AT_MOST}

    @staticmethod
    def overheads() -> list[dict]:
        """What securing everything costs, as others published it."""
        return [{"where": one.where, "words": one.words, "source": one.source} for one in OVERHEADS]
