"""What the paper's deployments cost the customer and leave the thief (Tables 14, 15 and 17 to 21)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from solid_utils.paper.margin import shortfalls
from solid_utils.paper.paper import summary
from solid_utils.paper.said import ADR, CUSTOMIZED

DEPLOYMENTS = ("SOLID", "SAP-DP", "Fully-Secure")  # DarkneTZ's bars stand in a drawing alone
ATTACKED = {"Llama2-70B": 14, "Llama2-7B": 15, "Mistral-7B": 15}
OTHERWISE = {"Fully-Secure": "Fully-secured"}  # its name in Tables 14 and 15


def gaps(name: str, models: Iterable[str] = tuple(CUSTOMIZED)) -> pd.Series:
    """By domain: the deployment's score less that of fully open, a share, mean of these models; no ratings."""
    return -shortfalls(name).loc[list(models)].mean(skipna=False) / 100


def ratio(name: str) -> float:
    """What FT-all gets of the victim's scores, a share, mean of three models."""
    name = OTHERWISE.get(name, name)
    return float(np.mean([summary(table, model, "FT-all", name)[ADR] for model, table in ATTACKED.items()])) / 100


def points() -> pd.DataFrame:
    """A row a deployment: `deployment`, `gap` (mean of five domains), `ratio`; percent, of the same three models."""
    rows = []
    for name in DEPLOYMENTS:
        gap = gaps(name, ATTACKED).mean()
        rows.append({"deployment": name, "gap": 100 * gap, "ratio": 100 * ratio(name)})
    return pd.DataFrame(rows)
