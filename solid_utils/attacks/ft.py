"""Fine-tuning attacks on the victim's answers: FT-all trains everything, FT-closed the replacement only (paper 3.1)."""

from torch import nn

from solid_utils.attacks import Plan
from solid_utils.secured import SecuredSet
from solid_utils.training import answer_loss


def ft_all(model: nn.Module, secured: SecuredSet, samples: list[dict]) -> Plan:
    """Fine-tune replacement and open part together on the answers of the whole victim."""
    names = frozenset(name for name, _ in model.named_parameters())
    return Plan(names, samples, answer_loss, answers_seen(secured), secured.total)


def ft_closed(model: nn.Module, secured: SecuredSet, samples: list[dict]) -> Plan:
    """Fine-tune the replacement only; the open part keeps the vendor's weights."""
    return Plan(frozenset(secured.names), samples, answer_loss, answers_seen(secured), secured.total)


def answers_seen(secured: SecuredSet) -> str:
    return "noisy answers" if secured.declaration == "sap_dp" else "answers"
