"""Solutions of notebook 06; from the top of the clone: python notebooks/solutions/06_deployment.py"""

import numpy as np

from solid_utils.checks import deployment
from solid_utils.runtime.manifest import Limits, Policy

# Easy. SmolLM2 is 576 wide, its weights float32 in memory.
print("bytes of a state:", deployment.state_bytes(576 * 4, width=576, scalar=4))

# Medium. Sixty texts of 64 tokens are the notebook's attack: fewer a day, over all sessions. A customer who fine-tunes
# on sixty texts of his own is stopped too: nothing tells his questions from the attacker's.
policy = Policy(limits=Limits(sequences_day=20))
print("policy:", deployment.policy(policy, [64] * 60))

# Hard, as one linear layer in place of a decoder layer: y = W x shows a row of equations a text, and a gradient pulled
# through it, W^T g, one more. As long as there are fewer texts than inputs, that is news about W.
stream = np.random.default_rng(0)
secret, width, asked = stream.standard_normal((32, 32)), 32, 20
inputs, pulled = stream.standard_normal((2, asked, width))


def agreement(found):
    """Share of fresh inputs on which the largest output is the secret layer's."""
    fresh = stream.standard_normal((2000, width))
    return float(((fresh @ found.T).argmax(1) == (fresh @ secret.T).argmax(1)).mean())


states = np.linalg.lstsq(inputs, inputs @ secret.T, rcond=None)[0].T  # W on the span of the inputs
rest = np.linalg.lstsq(pulled, pulled @ (secret - states), rcond=None)[0]  # what is left, on the span of the gradients
print("gradients:", deployment.gradients(((asked, agreement(states)), (asked, agreement(states + rest)))))
