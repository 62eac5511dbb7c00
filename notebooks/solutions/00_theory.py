"""Solutions of notebook 00; from the top of the clone: python notebooks/solutions/00_theory.py"""

import numpy as np

from solid_utils.checks import theory


# Easy. A column of S is what all tokens give to one; its least weight is what all have in common there. What is common
# to all rows cannot make them differ, so it is taken off 1.
def tau(weights):
    return 1 - weights.min(axis=0).sum()


print("tau:", theory.tau(tau))

# Medium. With nearly even attention S X is the mean of all rows, 1 m. The mean becomes m (I + V), what differs between
# rows stays. V = -I takes the mean away. An eigenvalue below -2 would bring it back, larger, with the other sign.
values = -np.eye(16)
print("value matrix:", theory.values(values))
