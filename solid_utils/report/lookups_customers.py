"""What a document may ask of the customization cells."""

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import beside_cells, customers
from solid_utils.report.tables.equivalence import OPEN


class CustomersLookups:
    """A part of lookups.Lookups, which gives it `table`."""

    def equivalent_rows(self) -> list[dict]:
        """Each deployment beside the fully open one, by right answers: rows of the table `equivalence`."""
        table = self.table("equivalence")
        beside = table[(table["metric"] == "right") & (table["deployment"] != OPEN)]
        return beside.sort_values(["model", "trained_on", "run"], kind="stable").to_dict("records")

    def ran_on(self, machine: str) -> tuple[int, int]:
        """Customizations, and attacks on what is published, that a machine ran: each seed of each cell."""
        runs = self.table("equivalence")
        mine = runs[(runs["machine"] == machine) & (runs["metric"] == "right")]
        attacks = self.table("published_adapters")
        return int(mine["seeds"].sum()), int((attacks["machine"] == machine).sum())

    def tries(self, model: str) -> list[dict]:
        """Recipes tried on validation problems, rows of schema.TRIES: reasoning first, then by rate and steps."""
        path = beside_cells.find(self.folder, customers.LIST, model, paths.TRIES_FILE, "tuning")
        measured = ["validation_cross_entropy", "validation_exact_match", "sums_before"]
        table = beside_cells.read(path, schema.TRIES, measured)
        table = table.sort_values(["learning_rate", "steps"], kind="stable")
        return table.sort_values("trained_on", ascending=False, kind="stable").to_dict("records")

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

    def public_bases(self) -> list[dict]:
        """A fine-tuning of a public base each, the nearest first: its `distance`, the base itself (`reference_c4`) and
        its `attacks` by name and start, None where one did not run; rows of the table `published_adapters`."""
        table = self.table("published_adapters")
        told = []
        for (_, _, distance, tuned), mine in table[table["known"] == "base"].groupby(
            ["model", "machine", "distance", "tuned"]
        ):
            attacks = dict.fromkeys(("stitch", "sem", "sem from the base"))
            for row in mine.to_dict("records"):
                attacks[f"{row['attack']}{' from the base' * (row['start'] == 'public_base')}"] = row
            own = {"distance": distance, "tuned": tuned, "reference_c4": mine["reference_c4"].iloc[0]}
            told.append(own | {"attacks": attacks})
        return sorted(told, key=lambda row: row["distance"])
