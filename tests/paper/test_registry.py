"""The registry of the paper's tables and figures: whole, each with a state, and nothing named that is not there."""

import re
from pathlib import Path

import pytest
import yaml

from solid_utils.core.errors import StudyError
from solid_utils.paper import paper, registry, said

ITEMS = registry.load()


def test_every_table_and_figure_is_listed_once_with_a_state():
    assert len(ITEMS) == len(registry.KEYS) == 51
    assert [f"table_{number}" for number in range(1, 43)] == [key for key in ITEMS if key.startswith("table")]
    assert "figure_2" not in ITEMS and {f"figure_{number}" for number in range(3, 11)} < set(ITEMS)
    assert all(paper.published_table(int(key.split("_")[1])) is not None for key in ITEMS if key.startswith("table"))


@pytest.mark.parametrize("key", ITEMS)
def test_what_an_entry_names_is_there(key):
    item = ITEMS[key]
    assert item.file is None or Path(item.file).exists(), f"{key}: no {item.file}"
    assert set(item.claims) <= {claim.key for claim in said.CLAIMS}
    assert item.remark == item.remark.strip(" .") and "\n" not in item.remark


def test_no_outcome_is_typed():
    """Verdicts and budgets are looked up: a digit in a remark would be one that nobody computes."""
    for key, item in ITEMS.items():
        words = re.sub(
            r"Llama2-70B|Llama2-7B|Mistral-7B|Phi-1\.5|Phi-2|OPT-350M|SQuADv2|F1", "", item.remark + item.shows
        )
        assert not re.search(r"\d", words), f"{key}: {words}"


def test_every_point_of_the_audit_stands_at_an_item():
    assert {point for item in ITEMS.values() for point in item.audit} == set(range(1, registry.POINTS + 1))


GOOD = {"shows": "scores", "state": "here", "table": "attacks"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"table_7": None}, "table_7: missing"),
        ({"table_43": GOOD}, "table_43: no table or figure of the paper"),
        ({"figure_2": GOOD}, "figure_2: no table or figure of the paper"),
        ({"table_7": GOOD | {"stat": "here"}}, "table_7: stat: Extra inputs are not permitted"),
        ({"table_7": GOOD | {"state": "maybe"}}, "table_7: state: Input should be 'here', 'partly'"),
        ({"table_7": GOOD | {"table": None}}, "table_7: state: here without a counterpart"),
        ({"table_7": GOOD | {"state": "needs_hub", "needs": "it"}}, "state: needs_hub beside a table or a figure"),
        ({"table_7": GOOD | {"state": "partly"}}, "state: partly and needs do not fit"),
        ({"table_7": GOOD | {"needs": "a GPU"}}, "state: here and needs do not fit"),
        ({"table_7": GOOD | {"audit": [30], "remark": "x"}}, "audit.0: Input should be less than or equal to 29"),
        ({"table_7": GOOD | {"audit": [3]}}, "audit and remark stand together"),
        ({"table_7": GOOD | {"table": None, "file": "README.md", "rows": {"attack": ["sem"]}}}, "rows: of no table"),
    ],
)
def test_a_wrong_entry_is_one_line_that_names_it(tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(registry, "KEYS", ("table_7", "figure_1"))  # a short paper: YAML is slow to read
    raw = {key: value for key, value in ({"table_7": GOOD, "figure_1": GOOD} | changes).items() if value is not None}
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError) as error:
        registry.load(path)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/published.yaml: ")


def test_the_registry_is_no_part_of_the_settings():
    from solid_utils.settings import reading

    assert "table_1" not in reading.read(Path("params.yaml"))
