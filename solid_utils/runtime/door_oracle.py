"""The oracle of the attacks with a running deployment behind it: what they learn of the victim comes through a door."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, build
from solid_utils.deployment.view import View, view
from solid_utils.runtime import manifest
from solid_utils.runtime.hollow import hollow


class DoorOracle(Oracle):
    """As deployment.oracle.Oracle, asked through the customer's own model; the secure world counts."""

    def __init__(self, model: PreTrainedModel, folder: Path, pad_id: int):
        """`model`: what SemiOpenForCausalLM made of the open half in `folder`."""
        self._seen = seen(folder)
        with model.secure.quiet():  # looking at the form of layers asks nothing
            super().__init__(model, self._seen[0], pad_id)
        self._before = model.secure.counts()

    @property
    def view(self) -> View:
        """What this deployment shows."""
        return self._seen[1]

    def boundary(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The states that leave the secured layers, (batch, tokens, width), zeros at padding."""
        with self._victim.secure.asking(attention_mask.bool()):
            return super().boundary(input_ids, attention_mask)

    def outputs(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor | None = None) -> Tensor:
        """Float32 logits of real positions, (tokens, vocabulary)."""
        with self._victim.secure.asking(attention_mask.bool()):
            return super().outputs(input_ids, attention_mask, keep)

    def asked(self) -> dict[str, int]:
        """Tokens, sequences and gradients since this oracle was made, as the secure world counts them."""
        return {what: count - self._before[what] for what, count in self._victim.secure.counts().items()}


def seen(folder: Path) -> tuple[SecuredSet, View]:
    """Secured set and view of an open half: all that they need lies in the open."""
    made = manifest.read(folder)
    shape = hollow(folder, made)
    with torch.no_grad():
        secured = build(shape, made.declaration, set(made.names))
        return secured, view(shape, secured)
