"""What a document may ask of the customization cells."""

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.metrics import recipe_choice
from solid_utils.report import beside_cells, customers
from solid_utils.report.tables.equivalence import OPEN


class CustomersLookups:
    """A part of lookups.Lookups, which gives it `table`."""

    def equivalent_rows(self) -> list[dict]:
        """Each deployment beside the fully open one, by right answers, where a domain has subjects that are only tested
        by their halves, too: rows of the table `equivalence`."""
        table = self.table("equivalence")
        beside = table[table["metric"].isin(["right", "taught", "untaught"]) & (table["deployment"] != OPEN)]
        return beside.sort_values(["model", "trained_on", "run"], kind="stable").to_dict("records")

    def ran_on(self, machine: str) -> tuple[int, int]:
        """Customizations, and attacks on what is published, that a machine ran: each seed of each cell."""
        runs = self.table("equivalence")
        mine = runs[(runs["machine"] == machine) & (runs["metric"] == "right")]
        attacks = self.table("published_adapters")
        return int(mine["seeds"].sum()), int((attacks["machine"] == machine).sum())

    def tries(self, model: str) -> list[dict]:
        """Recipes tried on validation problems, rows of schema.TRIES and `machine`: one machine after another,
        reasoning before other domains, then by rate and steps."""
        measured = ["validation_cross_entropy", "validation_exact_match", "sums_before"]
        rows = []
        for path in beside_cells.found(self.folder, customers.LIST, model, paths.TRIES_FILE, "tuning"):
            table = beside_cells.read(path, schema.TRIES, measured).assign(machine=path.parents[2].name)
            table = table.sort_values(["learning_rate", "steps"], kind="stable")
            rows += table.sort_values("trained_on", ascending=False, kind="stable").to_dict("records")
        return rows

    def chosen_try(self, model: str) -> dict:
        """The try that the rule takes (metrics.recipe_choice) of those whose sums were counted."""
        rows = pd.DataFrame(self.tries(model))
        return recipe_choice.chosen(rows[rows["sums_after"].notna()]).to_dict()

    def most_forgotten(self, recipe: str) -> dict:
        """Of all runs by a recipe the benchmark that lost most, with how many `runs` there are: a row of `equivalence`.

        StudyError where none ran.
        """
        table = self.table("equivalence")
        mine = table[(table["metric"] == "right") & table["run"].str.endswith(f"-{recipe}")]
        if mine.empty:
            raise StudyError(f"table equivalence: no run by {recipe}; a document needs one")
        worst = mine.loc[mine["worst_change"].idxmin()]
        names = {"benchmark": worst["worst"], "change": worst["worst_change"]}
        return names | {name: worst[name] for name in ("deployment", "trained_on")} | {"runs": len(mine)}

    def customer_groups(self) -> list[dict]:
        """A group of the plan each: how many cells are `planned`, and how many of them are `there` on any machine."""
        cells = customers.load(self.folder.parent)
        plan = cells.planned.drop_duplicates(["group", "model", "cell"])
        ran = cells.scores[["model", "run", "seed"]].astype({"seed": int}).drop_duplicates().assign(there=True)
        both = plan.astype({"seed": int}).merge(ran, on=["model", "run", "seed"], how="left")
        counted = both.groupby("group", sort=False)["there"].agg(["size", "count"])
        return [{"group": name, "planned": row["size"], "there": row["count"]} for name, row in counted.iterrows()]

    def cell_score(self, model: str, cell: str, benchmark: str, steps: int | None = None) -> float:
        """One score of a customization cell, after so many steps or at its end; of the first machine that has the cell.

        StudyError where none has it, or it has no such score.
        """
        path = beside_cells.find(self.folder, customers.LIST, model, f"{cell}.csv", "customers")
        rows = schema.read(path, schema.SCORES)
        wanted = rows["steps"].max() if steps is None else steps
        rows = rows[(rows["benchmark"] == benchmark) & (rows["steps"] == wanted)]
        if len(rows) != 1:
            raise StudyError(f"{path}: {benchmark} after {wanted} steps: {len(rows)} rows; a document needs one")
        return float(rows["value"].iloc[0])

    def public_bases(self) -> list[dict]:
        """A fine-tuning of a public base each, the nearest first: its `distance`, the base itself (`reference_c4`) and
        its `attacks` by name and start, None where one did not run; rows of the table `published_adapters`."""
        table = self.table("published_adapters")
        told = []
        for (_, machine, distance, tuned), mine in table[table["known"] == "base"].groupby(
            ["model", "machine", "distance", "tuned"]
        ):
            attacks = dict.fromkeys(("stitch", "sem", "sem from the base"))
            for row in mine.to_dict("records"):
                attacks[f"{row['attack']}{' from the base' * (row['start'] == 'public_base')}"] = row
            own = {
                "machine": machine,
                "distance": distance,
                "tuned": tuned,
                "reference_c4": mine["reference_c4"].iloc[0],
            }
            told.append(own | {"attacks": attacks})
        return sorted(told, key=lambda row: row["distance"])
