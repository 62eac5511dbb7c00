"""FT-closed with gradients of the boundary: what an attacker gains who asks the second oracle for his label loss.

FT-closed trains the replacement until the whole model says what the victim said (paper 3.1). Where the vendor answers
with vector-Jacobian products, a text's answer tells more. The attacker runs the text through the door, takes his loss
on the answer back through the open layers above, and asks for the product with what arrives at the secured part: that
is the gradient g of his label loss by the states that enter. His loss becomes

    label loss  +  |g_replica - g|^2 / |g|^2,  a text

(Sobolev training, Czarnecki et al. 2017, arXiv:1706.04859). gradients.py does the same one step below, on states.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.deployment import starts
from solid_utils.deployment.oracle import Oracle, relabelled
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View, view
from solid_utils.evaluation import fidelity
from solid_utils.model import models
from solid_utils.model.layers import DecoderLayers
from solid_utils.runtime import defences, gradients
from solid_utils.training.training import Collator, answer_loss

NEW_TOKENS = 16  # of an answer


@dataclass
class Labelled:
    """A batch of texts with the victim's answers, and the gradient of their loss where it was asked."""

    batch: dict[str, Tensor]  # as training.Collator makes it
    slope: Tensor | None = None  # (batch, tokens, width), zeros at padding


def slope(model: PreTrainedModel, layers: DecoderLayers, seen: View, batch: dict, keep: bool) -> tuple[Tensor, Tensor]:
    """The label loss of a batch, and its gradient by the states that enter the secured part, (batch, tokens, width).

    The model is a victim, a client of one, or a replica. `keep`: to be trained through.
    """
    with torch.enable_grad(), gradients.entering(layers, seen.first) as held:
        loss = answer_loss(model, batch)
        (found,) = torch.autograd.grad(loss, held[0], create_graph=keep)
    return loss, found * batch["attention_mask"][..., None]


def ask(model: PreTrainedModel, seen: View, samples: list[dict], batch: int, slopes: bool) -> list[Labelled]:
    """Batches of labelled texts; with `slopes` the second oracle is asked for each, once."""
    door = getattr(model, "secure", None)  # of a client
    with door.quiet() if door else nullcontext():  # looking at the form of layers asks nothing
        layers = DecoderLayers(model)
    found = []
    for first in range(0, len(samples), batch):
        made = Collator(0)(samples[first : first + batch])
        with door.asking(made["attention_mask"].bool()) if door else nullcontext():
            told = slope(model, layers, seen, made, keep=False)[1].detach() if slopes else None
        found.append(Labelled(made, told))
    return found


def distance(mine: Tensor, theirs: Tensor) -> Tensor:
    """Mean over texts of the squared error of gradients by the square of what was told; (batch, tokens, width) each."""
    squares = theirs.square().sum((1, 2))
    return ((mine - theirs).square().sum((1, 2)) / squares).mean()


def train(
    replica: PreTrainedModel, secured: SecuredSet, seen: View, told: list[Labelled], steps: int, rate: float
) -> list[float]:
    """Train a replica on what was told, see gradients.descended. Batches go round in order."""
    layers = DecoderLayers(replica)

    def loss_at(step: int) -> Tensor:
        one = told[step % len(told)]
        if one.slope is None:
            return answer_loss(replica, one.batch)
        label, mine = slope(replica, layers, seen, one.batch, keep=True)
        return label + distance(mine, one.slope)

    return gradients.descended(replica, secured, steps, rate, loss_at)


def gained(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    samples: list[dict],
    held_out: list[dict],
    counts: list[int],
    steps: int,
    rate: float,
    batch: int = 8,
    seed: int = 42,
) -> list[dict]:
    """For each count of texts two rows, without gradients and with one a text: what was asked, and how close he came.

    Texts are answered by the victim first, greedily. `questions`: texts and gradients together, each an answer as wide
    as a state. Agreement and KL are the replica's with the victim on `held_out`; `before` is its start. The fair
    comparison is along `questions`: a gradient against one more text.
    """
    seen = view(victim, secured)
    oracle = Oracle(victim, secured, tokenizer.pad_token_id)
    chosen = samples[: max(counts)]
    prompts = [sample["input_ids"][: sample["answer_start"]] for sample in chosen]
    answers = oracle.answers(prompts, NEW_TOKENS, batch)
    length = max(map(len, prompts)) + NEW_TOKENS
    labelled = relabelled(chosen, dict(zip((one["id"] for one in chosen), answers, strict=True)), length)
    plain = fidelity.Remembered(lambda: victim)
    rows = []
    for count in counts:
        for slopes in (False, True):
            replica = models.open_part(victim, secured.names)
            starts.apply(replica, starts.draw(replica, secured.names, "skip", seed))
            before = defences.scored(replica, plain, tokenizer, held_out)
            told = ask(victim, seen, labelled[:count], batch, slopes)
            losses = train(replica, secured, seen, told, steps, rate)
            rows.append(
                {"texts": count, "gradients": count * slopes, "questions": count * (1 + slopes), "loss": losses[-1]}
                | {f"before_{name}": value for name, value in before.items()}
                | defences.scored(replica.eval(), plain, tokenizer, held_out)
            )
    return rows
