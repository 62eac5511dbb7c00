"""The audit of the published numbers: 29 points, each computed from the published tables and asserted.

`point(number)` gives the table that shows a contradiction, or raises Resolved where the files no longer hold it: who
corrects a published number learns here what it settles. What is only read off the page, such as a level in the text,
stands as a constant beside the point. Cells that are hard to read are listed in published/uncertain.csv.
"""

from collections.abc import Callable

import pandas as pd

from solid_utils.core.errors import StudyError
from solid_utils.paper import audit_copies as copies
from solid_utils.paper import audit_rules as rules

POINTS: dict[int, Callable[[], pd.DataFrame]] = {
    1: copies.row_labels,
    2: rules.boolq_over_arc_easy,
    3: rules.two_averages,
    4: rules.headings,
    5: rules.transitions,
    6: rules.text_levels,
    7: copies.squad_f1,
    8: copies.phi_2_solid,
    9: copies.phi_2_fully_secured,
    10: copies.other_copies,
    11: copies.difficulties,
    12: rules.stopping_rule,
    13: rules.small_sets,
    14: rules.correlations,
    15: rules.darknetz,
    16: copies.solid_of_70b,
    17: copies.table_1_cells,
    18: rules.table_2_domains,
    19: copies.sem_of_mistral,
    20: rules.opt_layers,
    21: rules.swapped_sizes,
    22: copies.finance,
    23: copies.customization_rows,
    24: rules.learning_rate,
    25: rules.data_sizes,
    26: rules.sixteen_benchmarks,
    27: rules.ceilings,
    28: copies.same_row_twice,
    29: rules.guessing,
}


def point(number: int) -> pd.DataFrame:
    """The contradiction of this point as a table. StudyError for another number; Resolved where it is not there."""
    if number not in POINTS:
        raise StudyError(f"audit: no point {number}; it has 1 to {len(POINTS)}")
    return POINTS[number]()


def says(number: int) -> str:
    """A point in one sentence, without its number."""
    return " ".join(POINTS[number].__doc__.split()).partition(": ")[2]
