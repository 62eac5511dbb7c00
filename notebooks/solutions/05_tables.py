"""Solutions of notebook 05; from the top of the clone: python notebooks/solutions/05_tables.py"""

import pandas as pd

from solid_utils.checks import tables

SHIPPED = "reference/amd-epyc-2-threads/tables"  # in place of study.tables
MODEL, RUN = "smollm2-135m", "layer0-sem"

# Easy. End, benchmarks that count, and sums before the ratio.
benchmarks = pd.read_csv(f"{SHIPPED}/benchmarks.csv")
rows = benchmarks[(benchmarks["model"] == MODEL) & (benchmarks["run"] == RUN) & (benchmarks["state"] == "end")]
rows = rows[rows["counts"]]
ratio = (rows["value"] - rows["floor"]).sum() / (rows["victim"] - rows["floor"]).sum()
print("corrected ratio:", tables.corrected(ratio, benchmarks, MODEL, RUN))

# Medium. A verdict turns where what its rule compares with the threshold lies between the old one and the new one. Here
# a rule of one line on the shipped ends: does the strongest attack of a kind on SOLID's layers break them?
evidence = pd.read_csv(f"{SHIPPED}/evidence.csv")
solid = evidence[evidence["prefix"] & (evidence["depth"] == 1) & (evidence["start"] != "public_base")]
level = solid.groupby("attack")["above_floor_apart"].max()
between = set(level[(level > 0.25) & (level <= 0.7)].index)
before = {attack: "broken" if value > 0.25 else "holds" for attack, value in level.items()}
after = {attack: "broken" if value > 0.7 else "holds" for attack, value in level.items()}
print("verdicts:", tables.turned(between, before, after))
