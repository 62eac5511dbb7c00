"""Fine-tuning attacks on the victim's answers: FT-all trains everything, FT-closed the replacement only (paper 3.1).

Beyond the paper: towards the logits behind the answers, which the attacker sees too (view.py), not the answers alone.
"""

import torch
from torch import Tensor, nn

from solid_utils.attacks.part import SecuredPart
from solid_utils.attacks.plan import Plan
from solid_utils.attacks.recorded import Recorded
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.forward import answer_logits
from solid_utils.training.training import Loss, answer_loss


def towards(logits: Recorded | None) -> Loss:
    """Cross-entropy on the answers; where their logits are recorded, mean KL(victim || replica) over answer tokens.

    (Distillation at temperature 1: Hinton et al. 2015, arXiv:1503.02531.)
    """
    if logits is None:
        return answer_loss

    def divergence(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        own = answer_logits(model, batch["input_ids"], batch["attention_mask"], batch["keep"])
        theirs = logits.of(batch["number"]).float()  # (answer tokens, vocab)
        own, theirs = own.log_softmax(1, dtype=torch.float32), theirs.log_softmax(1)
        return nn.functional.kl_div(own, theirs, reduction="batchmean", log_target=True)

    return divergence


def ft_all(model: nn.Module, secured: SecuredSet, samples: list[dict], logits: Recorded | None = None) -> Plan:
    """Fine-tune replacement and open part together on the answers of the whole victim, or on their logits."""
    names = frozenset(name for name, _ in model.named_parameters())
    return Plan(names, samples, towards(logits), secured.total)


def ft_closed(part: SecuredPart, secured: SecuredSet, samples: list[dict], logits: Recorded | None = None) -> Plan:
    """Fine-tune the replacement only; the open part keeps the vendor's weights, what lies below is not run again."""
    objective = towards(logits)

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with part.begun(batch):
            return objective(model, batch)

    return Plan(frozenset(secured.names), samples, loss, secured.total - part.seen.below)
