"""What a document may ask of the customization cells."""

from solid_utils.report.tables.equivalence import OPEN


class CustomersLookups:
    """A part of lookups.Lookups, which gives it `table`."""

    def equivalent_rows(self) -> list[dict]:
        """Each deployment beside the fully open one, by right answers: rows of the table `equivalence`."""
        table = self.table("equivalence")
        beside = table[(table["metric"] == "right") & (table["deployment"] != OPEN)]
        return beside.sort_values(["model", "trained_on", "run"], kind="stable").to_dict("records")
