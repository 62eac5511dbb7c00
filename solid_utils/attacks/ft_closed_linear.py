"""FT-closed on logits after the closed-form map: the replacement beside the map is trained on the victim's logits.

Not in the paper. The map itself stays as it was fitted; what is trained is the replacement, which begins as nothing, as
in sem_linear (beside_map.py). So the attack begins at the stitched replica, and what it adds is no linear map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from solid_utils.attacks.beside_map import BesideMap
from solid_utils.attacks.ft_closed import FtClosed
from solid_utils.deployment.view import View

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account


class FtClosedLinear(BesideMap, FtClosed):
    """The map is fitted on boundary states of prompts with their answers, the replacement on the answers' logits."""

    instead: ClassVar = "ft_closed"

    attack: Literal["ft_closed_linear"]
    objective: Literal["logits"] = "logits"

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """The map asks for all texts, then fine-tuning for its own: counted twice, as one asking shows both."""
        own = FtClosed.queries(self, account, seed, max(0, steps - self.batches(account)))
        return account.samples + (own or account.validation) if steps else []

    def sees(self, seen: View) -> str:
        return f"{seen.pair}, then answers and their logits"

    def numbers(self, seen: View, width: int, vocabulary: int) -> int:
        """States for the map, then logits."""
        return width + vocabulary
