"""What may be done to states before they leave the secure world: rounding, noise. Each is measured by the attacks.

Noise is Gaussian, its size relative to each token's own root mean square. Its stream is fixed by the key, the policy's
seed and the state that it is added to: asking again the same teaches nothing, though asking almost the same does.
"""

import hashlib
import hmac

import torch
from torch import Tensor

from solid_utils.runtime import keys
from solid_utils.runtime.manifest import Boundary
from solid_utils.runtime.seal import content

LEVELS = {"int8": 127, "int4": 7}  # on either side of zero


class Guard:
    """A policy's defences, for the states of one model."""

    def __init__(self, boundary: Boundary, key: bytes, binding: bytes):
        self.boundary = boundary
        # Without the key in it, the customer would draw the same noise and take it off again.
        self.key = keys.derived(key, f"noise {boundary.seed}", binding)

    def __call__(self, states: Tensor) -> Tensor:
        """States (..., width) as they may leave, of the same dtype."""
        noisy = self.noised(states) if self.boundary.noise else states
        return rounded(noisy, self.boundary.rounding)

    def noised(self, states: Tensor) -> Tensor:
        """Each row with its own noise."""
        rows = states.reshape(-1, states.shape[-1])
        scale = self.boundary.noise * rows.float().square().mean(-1, keepdim=True).sqrt()  # (tokens, 1)
        drawn = torch.stack([self.draw(row) for row in rows])
        return (rows.float() + scale * drawn.to(rows.device)).to(states.dtype).reshape(states.shape)

    def draw(self, row: Tensor) -> Tensor:
        """Standard normal noise of one state, (width,)."""
        digest = hmac.new(self.key, content(row), hashlib.sha256).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.randn(len(row), generator=generator)


def rounded(states: Tensor, rounding: str) -> Tensor:
    """States at a lower precision, in their own dtype: bfloat16, or int8 or int4 with one scale a token."""
    if rounding == "bfloat16":
        return states.bfloat16().to(states.dtype)
    if rounding in LEVELS:
        scale = states.float().abs().amax(-1, keepdim=True).clamp_min(1e-30) / LEVELS[rounding]
        return ((states.float() / scale).round() * scale).to(states.dtype)
    return states
