"""Solutions of notebook 01; from the top of the clone: python notebooks/solutions/01_dd_scoring.py"""

from math import log
from pathlib import Path

from solid_utils.checks import scoring
from solid_utils.core import schema

# The shipped run, in place of the notebook's own.
curve = schema.read(Path("reference/amd-epyc-2-threads/runs/smollm2-135m/dd/curve.csv"), schema.DD)
means = curve[curve["seed"].astype(str) == "mean"]


# Easy. The embeddings stay known, and the head is tied to them: random states meet a trained head, which answers with
# confidence and is wrong. That costs more than knowing nothing.
kept = means[means["kind"] == "prefix"].sort_values("depth")["dd"].iloc[-1]
print("known head:", scoring.known_head("above", kept, log(49152)))


# Medium. The first place that passes, counted from 1; where none passes, everything.
def search(values, ceiling, epsilon):
    for layers, value in enumerate(values, 1):
        if value >= (1 - epsilon) * ceiling:
            return layers
    return len(values)


print("search:", scoring.search(search))
