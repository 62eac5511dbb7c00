"""The table of the paper's items: what stands beside each here, from our tables."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from solid_utils.core import readers
from solid_utils.paper import paper, registry, said
from solid_utils.paper.registry import Item
from solid_utils.report import catalogue, evidence, results
from solid_utils.report.paper_customized import TASKS
from solid_utils.report.paper_numbers import CUSTOMIZED
from solid_utils.report.tables import published


class Tables:
    """What a Context gives: tables by name, here those that were shipped."""

    def __init__(self, folder: Path, models: list[str], **own: pd.DataFrame):
        self.folder, self.own, self.results = folder, own, SimpleNamespace(models=models)

    def table(self, name: str) -> pd.DataFrame:
        if name not in self.own:
            self.own[name] = readers.read_csv(self.folder / f"{name}.csv", "run `make tables`")
        return self.own[name]


@pytest.fixture(scope="module")
def shipped() -> Tables:
    folder = results.shipped()[0]
    return Tables(folder / "tables", ["smollm2-135m"])


@pytest.fixture(scope="module")
def rows(shipped) -> pd.DataFrame:
    return published.published_table(shipped).set_index("item")


def test_each_item_is_listed_with_its_state_and_what_stands_beside_it(shipped, rows):
    assert list(rows.index) == list(registry.KEYS)
    for key, item in registry.load().items():
        assert rows.loc[key, "state"] == item.state
        for place in rows.loc[key, "counterpart"].split():
            if place.startswith("tables/"):
                assert (shipped.folder.parent / place).exists(), f"{key}: {place}"
                assert rows.loc[key, "found"] > 0, f"{key}: no such rows in {place}"
            elif place.startswith("figures/"):
                assert place == f"figures/paper/smollm2-135m-{key}.png" and item.figure == key
            else:
                assert Path(place).exists()


def test_the_shipped_table_is_what_the_registry_gives(shipped, rows):
    kept = readers.read_csv(shipped.folder / "published.csv", "run `make tables`").set_index("item")
    assert rows.drop(columns="found").equals(kept.drop(columns="found").fillna(""))
    assert rows["found"].astype(float).equals(kept["found"].astype(float))


def test_needs_names_the_domains_that_decided_nothing_here(shipped):
    """It said "five more domains and two more deployments" long after cells of these had come."""
    cells = shipped.table("equivalence")
    mine = cells[(cells["model"] == "smollm2-135m") & cells["equivalence"].isin(evidence.DECIDED)]
    decided = {TASKS[domain] for domain in mine["trained_on"]}
    domains = set(paper.result_table(17)["row"])
    assert decided and decided < domains
    for key, item in registry.load().items():
        if key in ("figure_5", *(f"table_{number}" for number in CUSTOMIZED.values())):
            named = {domain for domain in domains if domain.lower() in item.needs}
            assert named == domains - decided, key
        if item.table == "equivalence":
            assert not re.search(r"(two|five|more) (domains|deployments)", item.needs), f"{key}: a count grows old"


def test_budget_and_verdict_are_looked_up_not_typed(rows, shipped):
    attacks = shipped.table("attacks").query("attack == 'sem'")
    most = attacks["queries"].max()
    assert f"{most:,.0f} queries" in rows.loc["table_24", "spent"]
    verdict = shipped.table("claims").set_index("key").loc["sem_at_chance", "verdict"]
    assert rows.loc["table_24", "verdict"] == f"sem_at_chance: {verdict}"


def test_an_item_that_did_not_run_here_has_no_verdict(rows):
    """Tables 12 and 42 were "supported at this scale", by what other victims said of the claim."""
    elsewhere = rows[~rows["state"].isin(["here", "partly"])]
    assert {"table_12", "table_42"} <= set(elsewhere[elsewhere["claims"] != ""].index)
    assert set(elsewhere["verdict"]) == {""}
    assert (rows.drop(elsewhere.index).query("claims != ''")["verdict"] != "").all()


def test_rows_are_chosen_by_column_and_model():
    table = pd.DataFrame(
        {"model": ["a", "a", "a", "b"], "attack": ["sem", "sem", "ft_all", "sem"], "whole": [True, False, True, True]}
    )
    table = table.assign(queries=[10, 2000, 30, 40])
    item = Item(shows="x", state="here", table="toy", rows={"attack": ["sem"]})
    found = published.counterpart(table, "a", item)
    assert list(found["queries"]) == [10, 2000]
    assert published.spent(found) == "10 to 2,000 queries"
    one = Item(shows="x", state="here", table="toy", rows={"attack": ["sem"], "whole": [True]})
    assert published.spent(published.counterpart(table, "a", one)) == "10 queries"
    with pytest.raises(KeyError):
        published.counterpart(table, "a", Item(shows="x", state="here", table="toy", rows={"colour": ["red"]}))


def test_the_chapter_stands_last_and_its_sentence_counts(rows):
    assert list(catalogue.SECTIONS)[-1] == "published"
    sentence = catalogue.TABLES["published"].sentence(rows.reset_index())
    counts = rows["state"].value_counts()
    assert sentence.startswith("smollm2-135m: 51 tables and figures of the paper: ")
    assert all(f"{count} {state}" in sentence for state, count in counts.items())


def test_every_claim_rests_on_an_item():
    resting = {claim for item in registry.load().values() for claim in item.claims}
    assert resting >= {claim.key for claim in said.CLAIMS} - {"solid_layers"}
