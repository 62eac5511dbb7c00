"""A second secret bottom for the same open part: the first with noise on its matrices, or that one trained to serve.

Whoever trains it asks for the same answers, not for the same states: KL(victim || twin) over all tokens of texts, with
the secret tensors alone trained. So it may differ from the first wherever the open part does not look.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model import models
from solid_utils.model.forward import answer_logits
from solid_utils.runtime.adaptive import batches
from solid_utils.settings import params
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training

SEED = 42
NOISE, TRAINED = "noise", "trained"  # how a second bottom was made
RECIPE = {"batch": 8, "learning_rate": 5e-4, "weight_decay": 0.0, "schedule": "cosine", "warmup_steps": 10}


def noisy(victim: PreTrainedModel, secured: SecuredSet, spread: float) -> PreTrainedModel:
    """The victim with noise on its secret matrices, `spread` of each one's root mean square; vectors stay."""
    other = models.clone(victim)
    generator = torch.Generator().manual_seed(SEED)
    secret = set(secured.names)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in secret and parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(spread * parameter.float().square().mean().sqrt() * noise.to(parameter))
    return other


def trained(
    victim: PreTrainedModel,
    secured: SecuredSet,
    spread: float,
    samples: list[dict],
    steps: int,
    pad_id: int,
    spec: params.Model,
) -> PreTrainedModel:
    """As `noisy`, then trained for so many steps on texts to answer as the victim does, in the precision of `spec`."""
    other = noisy(victim, secured, spread)
    recipe = Recipe(steps=steps, validate_every=max(1, steps), **RECIPE)

    def divergence(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        asked = batch["input_ids"], batch["attention_mask"], batch["attention_mask"].bool()
        # Around a step and not around the training: autocast keeps its rounded weights until it ends, and the model
        # would answer with those of the first step for ever.
        with models.precision(spec):
            with torch.no_grad():
                wanted = answer_logits(victim, *asked).log_softmax(1, dtype=torch.float32)
            said = answer_logits(model, *asked).log_softmax(1, dtype=torch.float32)
        return nn.functional.kl_div(said, wanted, reduction="batchmean", log_target=True)

    with TemporaryDirectory() as folder:
        training.train(other, set(secured.names), samples, divergence, lambda _: {}, recipe, SEED, pad_id, Path(folder))
    return other.eval()


def apart(both: list[Oracle], samples: list[dict]) -> float:
    """How far what leaves the second is from what leaves the first: a share of the first's norm, mean over tokens."""
    shares = []
    for ids, mask in batches(samples):
        first, second = (oracle.boundary(ids, mask)[mask.bool()] for oracle in both)  # (tokens, width)
        shares.append((second - first).norm(dim=-1) / first.norm(dim=-1))
    return torch.cat(shares).mean().item()
