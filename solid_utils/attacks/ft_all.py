"""FT-all: fine-tune replacement and open part together on the answers of the whole victim (paper 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from transformers import PreTrainedModel

from solid_utils.attacks.fine_tuning import FineTuning, towards
from solid_utils.attacks.plan import Plan
from solid_utils.training.recorded import Recorded

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun


class FtAll(FineTuning):
    """All is trained; by LoRA the replacement wholly and the open layers through adapters."""

    opens: ClassVar = True

    attack: Literal["ft_all"]

    def plan(self, attacker: PreTrainedModel, run: AttackRun, answers: Recorded | None) -> Plan:
        names = frozenset(name for name, _ in attacker.named_parameters())
        return Plan(names, run.samples, towards(answers), run.secured.total)

    def flops(self, account: Account, steps: int) -> int:
        whole = account.replaced.total + account.adapters
        trained = account.replaced.parameters + account.adapters if account.adapters else account.replaced.total
        return account.tokens(steps) * (4 * whole + 2 * trained)
