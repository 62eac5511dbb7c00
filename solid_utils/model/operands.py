"""What enters and what leaves one linear map inside a model, from the model's own forward, stopped there."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from solid_utils.core.errors import StudyError


@dataclass(frozen=True)
class Matrix:
    """A linear map: its module's path, its sizes, and how its weight is stored."""

    path: str
    inputs: int
    outputs: int
    transposed: bool  # stored as (inputs, outputs), which Transformers' Conv1D does
    bias: bool  # has it a bias?

    @property
    def unknowns(self) -> int:
        """Scalars behind each output: as many independent tokens fix them."""
        return self.inputs + self.bias

    def stored(self, weight: Tensor) -> Tensor:
        """A weight (outputs, inputs) as the module stores it, and back."""
        return weight.T if self.transposed else weight


class _Seen(Exception):
    """Carries a map's input and output out of a forward that needs to go no further."""


def matrix(model: nn.Module, path: str) -> Matrix | None:
    """The linear map at `path`; None where the module there is something else. Values are not looked at."""
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear | Conv1D):
        return None
    rows, columns = module.weight.shape
    transposed = isinstance(module, Conv1D)
    inputs, outputs = (rows, columns) if transposed else (columns, rows)
    return Matrix(path, inputs, outputs, transposed, module.bias is not None)


@torch.no_grad()
def entering(model: nn.Module, path: str, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """What enters the map at real positions of right-padded rows, (tokens, inputs); the map itself is not run.

    As the product takes it: under autocast in its dtype. Raises StudyError where the forward does not come by.
    """
    return _watched(model, path, input_ids, attention_mask, leaving=False)[0]


@torch.no_grad()
def around(model: nn.Module, path: str, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """As `entering`, and what leaves the map, (tokens, outputs)."""
    return _watched(model, path, input_ids, attention_mask, leaving=True)


def _watched(model: nn.Module, path: str, input_ids: Tensor, mask: Tensor, leaving: bool) -> tuple[Tensor, ...]:
    module = model.get_submodule(path)

    def stop(_module: nn.Module, inputs: tuple, output: Tensor | None = None) -> None:
        raise _Seen(inputs[0], inputs[0] if output is None else output)

    hook = module.register_forward_hook(stop) if leaving else module.register_forward_pre_hook(stop)
    try:
        # Rows are padded on the right, so no real position looks at padding.
        model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)
    except _Seen as seen:
        entered, left = seen.args
    else:
        raise StudyError(f"{type(model).__name__}: a text does not go through {path}; this architecture is not known")
    finally:
        hook.remove()
    kind = input_ids.device.type
    if torch.is_autocast_enabled(kind):
        entered = entered.to(torch.get_autocast_dtype(kind))
    real = mask.bool().flatten()
    return tuple(rows.reshape(len(real), -1)[real] for rows in (entered, left))
