"""What attacks that go on from the closed-form map share: it stays as a residual branch beside the replacement, which
begins as nothing.

Not in the paper. Training from random weights, or from layers that hand their input on, ends below the map with the
same 100 to 800 queries. That may be slow optimisation and no more: here the first step begins where the map ended.

    leaving(x) = replacement(x) + map(x),   replacement(x) = x before the first step (start "skip" or "skip_neighbour")

The map is fitted by linear_map.fit on all texts and stays as it is; the replacement is trained. The replica's file
holds both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.attacks.attack import Asking
from solid_utils.attacks.plan import Plan
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.model import models, ridge_map
from solid_utils.model.layers import DecoderLayers, Form, hidden
from solid_utils.settings.attack_params import Recipe
from solid_utils.training.recorded import Recorded

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun

MAP = "map"  # its name in a replica's file, beside the replacement's tensors


class Branch:
    """A linear map from what enters the secured layers, added to what leaves them. Hooks, so that nothing else changes.

    Its weights are no parameters of the model: no optimizer moves them, no delta counts them.
    """

    def __init__(self, model: PreTrainedModel, seen: View, weights: Tensor):
        """`weights`: (features, width), see ridge_map.features."""
        layers = DecoderLayers(model)
        self.weights = weights.to(layers.device, model.dtype)
        self.linear = linear_map.Stitch(self.weights, Form())
        self.added: Tensor | None = None
        model.register_forward_pre_hook(self.linear.note, with_kwargs=True)
        layers.layers[seen.first].register_forward_pre_hook(self.enter, with_kwargs=True)
        layers.layers[seen.last].register_forward_hook(self.leave)
        linear_map.without_caches(model)

    def enter(self, _module: nn.Module, args: tuple, named: dict) -> None:
        state = args[0] if args else named["hidden_states"]
        self.added = self.linear.added(state)

    def leave(self, _module: nn.Module, _args: tuple, output: Tensor | tuple) -> Tensor | tuple:
        state = hidden(output) + self.added
        return (state, *output[1:]) if isinstance(output, tuple) else state


class BesideMap(Asking):
    """Its steps are the map's batches of texts, then those of training. Mixed in before the class that trains."""

    follows: ClassVar = False
    instead: ClassVar[str]  # the attack to use where a fresh layer cannot begin as nothing

    start: Literal["skip", "skip_neighbour"] = "skip"  # the replacement begins as nothing
    previous: Annotated[int, Field(ge=0)] = 2  # earlier tokens the map may look at
    scaled: bool = False  # each input of the map is penalised by its own square, as in stitch

    def fitted_map(self, run: AttackRun) -> Tensor:
        """The map as it is kept, in bfloat16; a run that was killed finds it in its state. No seed has a part in it."""
        path = run.state.folder / f"{MAP}.safetensors"
        if not path.exists():
            oracle = Oracle(run.victim, run.secured, run.tokenizer.pad_token_id, self.noise)
            with models.precision(run.spec):
                opened = models.open_part(run.victim, run.secured.names, shared=True)
                linear_map.save(linear_map.fit(opened, oracle, run.samples, self.previous, self.scaled), path)
        return linear_map.load(path)

    def train(self, run: AttackRun, seed: int) -> list[dict]:
        begun = {f"validation_{name}": value for name, value in run.validate(run.start(seed)).items()}
        batches = self.batches(run.account)
        return [{"step": 0} | begun, *(row | {"step": row["step"] + batches} for row in run.optimised(seed))]

    def plan(self, attacker: PreTrainedModel, run: AttackRun, answers: Recorded | None) -> Plan:
        fitted = self.fitted_map(run)  # first: it says so where the states are not visible
        if not hands_on(attacker, run.seen, run.samples[0]["input_ids"]):
            raise StudyError(
                f"attack {self.attack}: fresh layers of {type(attacker).__name__} change what enters them; use attack: "
                f"{self.instead}"
            )
        Branch(attacker, run.seen, fitted)
        return super().plan(attacker, run, answers)

    def keep(self, replica: nn.Module, run: AttackRun, path: Path) -> None:
        handed_out = models.open_part(run.victim, run.secured.names, shared=True)
        models.save_delta(replica, handed_out, path, beside={MAP: self.fitted_map(run)})

    def lay(self, replica: PreTrainedModel, run: AttackRun, path: Path) -> None:
        apart = models.load_delta(replica, path, beside=(MAP,))
        Branch(replica, run.seen, apart[MAP].float())

    def batches(self, account: Account) -> int:
        """Steps of the map: batches of texts that enter its equations."""
        return -(-len(account.samples) // linear_map.BATCH)

    def steps(self, account: Account) -> int:
        return self.batches(account) + super().steps(account)

    def samples(self, account: Account, steps: int) -> int:
        trained = super().samples(account, max(0, steps - self.batches(account)))
        return trained + (len(account.samples) if steps else 0)

    def flops(self, account: Account, steps: int) -> int:
        if not steps:
            return 0
        fit = ridge_map.flops(sum(account.lengths), account.width, self.previous, account.seen.below, self.scaled)
        return fit + super().flops(account, max(0, steps - self.batches(account)))

    def foreseen(self, tokens: int, epochs: float, secured: SecuredSet, seen: View, width: int) -> float:
        fit = ridge_map.flops(tokens, width, self.previous, seen.below, self.scaled)
        return fit + super().foreseen(tokens, epochs, secured, seen, width)

    def options(self, recipe: Recipe) -> list[str]:
        fitted = f"beside a ridge map of {self.previous} previous tokens" + ", inputs scaled" * self.scaled
        return [*super().options(recipe), fitted]


def hands_on(attacker: PreTrainedModel, seen: View, tokens: list[int]) -> bool:
    """Does the fresh replacement hand on what enters it? Layers that normalise what leaves them (early OPT) do not,
    however their matrices begin."""
    layers, ids = DecoderLayers(attacker), torch.tensor([tokens], device=attacker.device)
    with torch.no_grad():
        leaving = layers.boundary(ids, seen.last)
        with layers.replaced(dict.fromkeys(seen.stages, layers.skip)):
            entering = layers.boundary(ids, seen.last)
    return torch.equal(leaving, entering)
