"""FT-closed: fine-tune the replacement only; the open part keeps the vendor's weights (paper 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.attacks.fine_tuning import FineTuning, towards
from solid_utils.attacks.plan import Plan
from solid_utils.training.recorded import Recorded

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun


class FtClosed(FineTuning):
    """What lies below the replacement is recorded once and not run again."""

    attack: Literal["ft_closed"]

    def plan(self, attacker: PreTrainedModel, run: AttackRun, answers: Recorded | None) -> Plan:
        part, objective = run.part(attacker), towards(answers)

        def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            with part.begun(batch):
                return objective(model, batch)

        return Plan(frozenset(run.secured.names), run.samples, loss, run.secured.total - part.seen.below)

    def worked(self, account: Account) -> int:
        return account.replaced.total - account.seen.below
