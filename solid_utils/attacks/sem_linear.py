"""SEM from the closed-form map: SEM trains a replacement beside the map, on the texts that the map was fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from solid_utils.attacks.beside_map import BesideMap
from solid_utils.attacks.sem import Sem

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account


class SemLinear(BesideMap, Sem):
    """See beside_map.py."""

    instead: ClassVar = "sem"

    attack: Literal["sem_linear"]
    replacement: None = None

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """The map asks for all texts, each once; SEM trains on the same answers."""
        return account.samples * self.repeats + account.validation if steps else []
