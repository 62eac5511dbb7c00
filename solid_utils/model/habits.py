"""What a model does with padding and with shared keys and values: measured once for each architecture, then remembered.

Recurrent layers, learned positions and windows may read padding on the left, or not go on from a cache as from the
texts themselves. Where they do, slower ways are taken, and a line says so.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# In standard deviations of the logits, largest of all: bfloat16 rounds by 0.05; a state that is wrong is off by 0.5.
ALIKE = {torch.float32: 1e-3, torch.float64: 1e-3}
COARSE = 0.2
_known: dict[tuple, bool] = {}


def agrees(model: nn.Module, what: str, instead: str, ask: Callable[[], tuple[Tensor, Tensor]]) -> bool:
    """Do both ways that `ask` tries give the same logits on this architecture? Prints a line where they do not.

    `ask` is called once for each class and configuration. Logits that are not finite decide nothing: True.
    """
    key = (what, type(model), model.config.to_json_string(), model.dtype)
    if key not in _known:
        training = model.training
        model.eval()
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            ours, true = ask()
        model.train(training)
        if not (ours.isfinite().all() and true.isfinite().all()):  # an open part without its secret weights
            return True
        off = ((ours - true).abs().max() / true.std().clamp_min(1e-12)).item()
        _known[key] = off <= ALIKE.get(model.dtype, COARSE)
        if not _known[key]:
            print(f"guard: {type(model).__name__}: {what} move logits by {off:.2g} of their deviation; {instead}")
    return _known[key]
