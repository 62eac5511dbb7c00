"""Fine-tuning attacks on the victim's answers: FT-all trains everything, FT-closed the replacement only (paper 3.1)."""

from torch import Tensor, nn

from solid_utils.attacks import Plan
from solid_utils.attacks.part import SecuredPart
from solid_utils.attacks.view import View
from solid_utils.secured import SecuredSet
from solid_utils.training import answer_loss


def ft_all(model: nn.Module, secured: SecuredSet, seen: View, samples: list[dict]) -> Plan:
    """Fine-tune replacement and open part together on the answers of the whole victim."""
    names = frozenset(name for name, _ in model.named_parameters())
    return Plan(names, samples, answer_loss, seen.answers, secured.total)


def ft_closed(part: SecuredPart, secured: SecuredSet, samples: list[dict]) -> Plan:
    """Fine-tune the replacement only; the open part keeps the vendor's weights, what lies below is not run again."""

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with part.begun(batch):
            return answer_loss(model, batch)

    return Plan(frozenset(secured.names), samples, loss, part.seen.answers, secured.total - part.seen.below)
