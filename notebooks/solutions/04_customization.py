"""Solutions of notebook 04; from the top of the clone: python notebooks/solutions/04_customization.py"""

from math import ceil

from solid_utils.checks import customization


# Easy. A gradient runs from the loss at the top downwards, through whatever it meets, to the lowest open layer. Below
# that nothing is trained, so nothing is computed.
def reached(open_layers, depth):
    if not open_layers:
        return [False] * depth
    return [layer >= min(open_layers) for layer in range(depth)]


print("where gradients go:", customization.reached(reached))

# Medium. A share p of n items has the variance p (1 - p) / n, a difference of two independent shares twice that. Two
# standard errors are 2 sqrt(2 p (1 - p) / n); solve for n.
share, difference = 0.5, 0.05
print("test items:", customization.items(ceil(8 * share * (1 - share) / difference**2), share, difference))
# The same items for both models, as here, are no independent samples: paired, fewer do.

# Medium. `secured: top 2`: with top layers closed the gradient passes through the closed part, so the vendor has to
# send it back (deployment with `gradients`); the customer's own layers lie below. `reached` above says True everywhere.
print("top 2 of 30:", all(reached(set(range(28)), 30)))
