"""What defences at the boundary cost the customer, and what they take from an attacker who fits through them.

The oracle here is in one process, so that no model has to be split for each policy; a test holds it against a door's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import view
from solid_utils.evaluation import fidelity
from solid_utils.model import models
from solid_utils.model.layers import DecoderLayers, hidden
from solid_utils.runtime.boundary import Guard
from solid_utils.runtime.manifest import Boundary

PREVIOUS = 2  # tokens that the linear map looks back
KEY, BINDING = bytes(32), bytes(32)  # of the noise alone
SHOWN = [Boundary(), Boundary(rounding="bfloat16"), Boundary(rounding="int8")]
SHOWN += [Boundary(noise=noise) for noise in (0.03, 0.1, 0.3, 1.0)]


def guard(boundary: Boundary, asking: int = 0) -> Guard:
    """A defence; another `asking` draws the noise anew, as a question does that differs in its last bit."""
    return Guard(boundary.model_copy(update={"seed": boundary.seed + asking}), KEY, BINDING)


class Guarded(Oracle):
    """As Oracle, with a defence at the boundary. Each text is asked so often, barely changed, and the mean is kept."""

    def __init__(self, victim: PreTrainedModel, secured: SecuredSet, pad_id: int, boundary: Boundary, askings: int = 1):
        super().__init__(victim, secured, pad_id)
        self.guards = [guard(boundary, asking) for asking in range(askings)]
        self.rounding = boundary.rounding

    def boundary(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The states that leave the secured layers as they are shown, (batch, tokens, width); zeros at padding."""
        real = attention_mask.bool()
        states = [super(Guarded, self).boundary(input_ids, attention_mask) for _ in self.guards]  # each is counted
        shown = torch.zeros_like(states[0])
        shown[real] = sum(own(state[real]) for own, state in zip(self.guards, states, strict=True)) / len(states)
        return shown


def shown_after(victim: PreTrainedModel, secured: SecuredSet) -> int:
    """The layer behind which a defence stands. Raises StudyError where there is no such layer, or more than one."""
    seen = view(victim, secured)
    if not seen.consecutive or seen.outputs_only or not 0 <= seen.last < seen.depth:
        raise StudyError(
            f"defences: '{secured.declaration}' has no one boundary behind a layer; secure consecutive decoder layers"
        )
    return seen.last


@contextmanager
def defended(victim: PreTrainedModel, last: int, boundary: Boundary) -> Iterator[PreTrainedModel]:
    """For the duration, what leaves layer `last` leaves it through a defence: the customer's model."""
    own = guard(boundary)

    def shown(_module: nn.Module, _inputs: tuple, output: Tensor | tuple) -> Tensor | tuple:
        state = own(hidden(output))
        return (state, *output[1:]) if isinstance(output, tuple) else state

    hook = DecoderLayers(victim).layers[last].register_forward_hook(shown)
    try:
        yield victim
    finally:
        hook.remove()


def measured(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    asked: dict[tuple[int, int], list[dict]],
    held_out: list[dict],
    boundaries: list[Boundary] = SHOWN,
    previous: int = PREVIOUS,
    plain: fidelity.Remembered | None = None,
) -> list[dict]:
    """For each defence and attack a row: agreement and KL with the plain victim, of the deployment and of the replica.

    asked: (texts, askings of each) -> the attacker's texts. The attack is the linear map (linear_map.py) of so many
    previous tokens. `plain` remembers what the plain victim said of these texts before. Raises StudyError where no
    boundary states are visible.
    """
    if plain is None:
        plain = fidelity.Remembered(lambda: victim)
        fidelity.fidelity(victim, plain, tokenizer, held_out)  # what it says is remembered from here on
    rows = []
    for boundary in boundaries:
        with defended(victim, shown_after(victim, secured), boundary) as customers:
            kept = scored(customers, plain, tokenizer, held_out)
        for (texts, askings), samples in asked.items():
            if askings > 1 and not boundary.noise:
                continue  # asking again would say the same
            oracle = Guarded(victim, secured, tokenizer.pad_token_id, boundary, askings)
            stolen = scored(replica(victim, secured, oracle, samples[:texts], previous), plain, tokenizer, held_out)
            rows.append(
                {"rounding": boundary.rounding, "noise": boundary.noise, "texts": texts, "askings": askings}
                | {"queries": oracle.sequences, "tokens": oracle.tokens}
                | {f"deployment_{name}": value for name, value in kept.items()}
                | {f"replica_{name}": value for name, value in stolen.items()}
            )
    return rows


def replica(
    victim: PreTrainedModel, secured: SecuredSet, oracle: Oracle, samples: list[dict], previous: int = PREVIOUS
) -> PreTrainedModel:
    """The open part, with the linear map in place of the secret."""
    attacker = models.open_part(victim, secured.names)
    linear_map.install(attacker, oracle.view, linear_map.fit(attacker, oracle, samples, previous))
    return attacker


def scored(model: PreTrainedModel, plain: Callable, tokenizer, held_out: list[dict]) -> dict[str, float]:
    """Agreement and KL with the plain victim on held-out answer tokens."""
    rows = fidelity.fidelity(model, plain, tokenizer, held_out).rows
    return {row["metric"]: row["value"] for row in rows if row["metric"] in ("agreement", "kl")}
