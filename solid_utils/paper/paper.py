"""What the paper published: its tables, and arithmetic on them.

The numbers lie in `published/`, described in `published/README.md`. Scores are percent, as printed.
"""

import functools
import math
from pathlib import Path

import pandas as pd

from solid_utils.core import readers
from solid_utils.core.errors import StudyError

PUBLISHED = Path(__file__).parent / "published"
AGAIN = "take it from the repository again"
LONG = ["table", "model", "attack", "secured", "row", "domain", "value"]
COLUMN = ["table", "model", "attack", "secured"]

# Six capability domains and their benchmarks (section 5.1, Table 7). SQuADv2 counts twice, so "sixteen" is 17 rows.
DOMAINS = {
    "Rsn": ["PIQA", "HellaSwag", "Winogrande", "ARC-easy", "ARC-challenge"],
    "Read": ["OpenBookQA", "LAMBADA", "BoolQ", "SQuADv2_EM", "SQuADv2_F1"],
    "Knl": ["NaturalQuestions", "TriviaQA"],
    "Code": ["HumanEval", "MBPP"],
    "Math": ["GSM8K"],
    "Gen": ["MMLU", "BBH"],
}
ROWS = [row for rows in DOMAINS.values() for row in rows]

# Percent a guess scores: two choices, four choices, and 0 where the answer is generated.
_CHOICES = {"PIQA": 2, "Winogrande": 2, "BoolQ": 2}
_CHOICES |= dict.fromkeys(["HellaSwag", "ARC-easy", "ARC-challenge", "OpenBookQA", "MMLU"], 4)
CHANCE = pd.Series({row: 100 / _CHOICES[row] if row in _CHOICES else 0.0 for row in ROWS}, name="chance")

# Table that prints the victim's own scores.
PRETRAIN_TABLE = {"Llama2-70B": 14, "Llama2-7B": 26, "Mistral-7B": 28, "Phi-2": 30, "Phi-1.5": 32, "OPT-350M": 42}


# model: vocabulary V, width d (public configurations), and where its fully secured difficulty is printed.
# Phi-1.5 has two; Table 32's 9.33 is below ln V, so it cannot be that of a random head.
CEILINGS = {
    "Llama2-7B": (32000, 4096, 27, "*"),
    "Mistral-7B": (32000, 4096, 29, "*"),
    "Phi-2": (51200, 2560, 31, "*"),
    "Phi-1.5": (51200, 2048, 40, "100%"),
}


def published_table(number: int) -> pd.DataFrame:
    """Any of the paper's 42 tables as stored. Raises StudyError for another number."""
    return _read(*_file(number)).copy()


def _file(number: int) -> tuple[Path, int]:
    """Where a table lies, and when it was last changed."""
    paths = list(PUBLISHED.glob(f"table{number:02d}_*.csv"))
    if len(paths) != 1:
        raise StudyError(f"published table {number}: no such file; the paper has Tables 1 to 42")
    return paths[0], paths[0].stat().st_mtime_ns


@functools.lru_cache(maxsize=64)  # figures and the audit ask a hundred times; a corrected file has another time
def _read(path: Path, _changed: int) -> pd.DataFrame:
    return readers.read_csv(path, AGAIN, dtype={"secured": "str"})


@functools.lru_cache(maxsize=64)  # as _read: to look a column up in the long table took most of the audit
def _columns(path: Path, changed: int) -> dict[tuple[str, str, str], pd.Series]:
    """Every column of a table of scores: its values by row."""
    rows = _read(path, changed)
    groups = rows.groupby(COLUMN[1:], sort=False, dropna=False)
    return {key: mine.set_index("row")["value"] for key, mine in groups}


def result_table(number: int) -> pd.DataFrame:
    """A table of scores (12 to 42) or ratios (1, 2), one value a line, columns LONG. StudyError for Tables 3 to 11."""
    table = published_table(number)
    if list(table.columns) != LONG:
        raise StudyError(f"published table {number}: holds no scores; use published_table")
    return table


def column(table: int, model: str, attack: str, secured: str) -> pd.Series:
    """The 17 benchmark rows of one column, in the order of ROWS. Raises StudyError when it lacks one of them."""
    values = _values(table, model, attack, secured)
    missing = [row for row in ROWS if row not in values]
    if missing:
        raise StudyError(f"published table {table}: {secured} lacks {', '.join(missing)}; use result_table")
    return values[ROWS]


def summary(table: int, model: str, attack: str, secured: str) -> pd.Series:
    """The rows printed below a column (average score, ADR, difficulty), as far as the table has them."""
    return _values(table, model, attack, secured).filter(
        ["avg_performance_score", "average_distillation_ratio", "distillation_difficulty"]
    )


def pretrain(model: str) -> pd.Series:
    """The victim's own 17 scores. Raises StudyError for a model the paper does not print."""
    if model not in PRETRAIN_TABLE:
        raise StudyError(f"model {model}: the paper prints no scores; it has {', '.join(PRETRAIN_TABLE)}")
    return column(PRETRAIN_TABLE[model], model, "none", "Pretrain")


def uncertain(table: int | None = None) -> pd.DataFrame:
    """Cells not to trust blindly, with value, kind and reason; of one table or of all (see published/README.md)."""
    cells = readers.read_csv(PUBLISHED / "uncertain.csv", AGAIN, dtype={"secured": "str"}, na_values=[])
    values = pd.concat(result_table(number) for number in cells["table"].unique())
    cells = cells.merge(values[[*COLUMN, "row", "value"]], on=[*COLUMN, "row"], validate="many_to_one")
    return cells if table is None else cells[cells["table"] == table].reset_index(drop=True)


def ceilings() -> pd.DataFrame:
    """Fully secured difficulties: printed, and expected for a random head on unit-variance states (nats, by model).

    Logits of variance s^2 d give a mean loss of ln V + s^2 d / 2; s is 0.02, or for Xavier sqrt(2 / (V + d)).
    """
    rows = {}
    for model, (vocabulary, width, table, secured) in CEILINGS.items():
        rows[model] = {
            "printed": summary(table, model, "FT-all", secured)["distillation_difficulty"],
            "normal_0.02": math.log(vocabulary) + 0.02**2 * width / 2,
            "xavier": math.log(vocabulary) + width / (vocabulary + width),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _values(table: int, model: str, attack: str, secured: str) -> pd.Series:
    """All printed rows of one column, indexed by row. Raises StudyError when there is no such column."""
    result_table(table)  # refuses one without scores
    columns = _columns(*_file(table))
    if (model, attack, secured) not in columns:
        known = "; ".join(", ".join(key) for key in columns)
        raise StudyError(f"published table {table}: no column {model}, {attack}, {secured}; it has {known}")
    return columns[model, attack, secured].copy()
