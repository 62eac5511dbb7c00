"""Stitch: one linear map in place of the secured layers, fitted in closed form (linear_map.py). Not in the paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.attacks.attack import Attack
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.model import models, ridge_map
from solid_utils.settings.attack_params import Recipe

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun


class Stitch(Attack):
    """Its steps are batches of texts that enter the equations."""

    usual: ClassVar = "sem"
    fitted: ClassVar = True
    follows: ClassVar = False

    attack: Literal["stitch"]
    previous: Annotated[int, Field(ge=0)] = 2  # earlier tokens it may look at
    # Which texts a few queries are is all that chance decides here. "drawn": by the run's seed, which must be one.
    texts: Literal["first", "drawn"] = "first"
    scaled: bool = False  # each input is penalised by its own square; wider penalties are tried
    first_apart: bool = False  # a first token counts by its text's longest state (ridge_map.row_weights)

    def drawn_by(self, seeds: list[int]) -> int | None:
        if self.texts == "drawn" and len(seeds) > 1:
            raise StudyError(
                f"stitch: texts: drawn takes one seed a run, attack.seeds has {len(seeds)}; leave one there"
            )
        return seeds[0] if self.texts == "drawn" else None

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """All its texts; it chooses its penalty on some of them and needs no validation answers."""
        return account.samples if steps else []

    def train(self, run: AttackRun, seed: int) -> list[dict]:
        oracle = Oracle(run.victim, run.secured, run.tokenizer.pad_token_id)
        with models.precision(run.spec):
            fitted = linear_map.fit(run.start(seed), oracle, run.samples, self.previous, self.scaled, self.first_apart)
            linear_map.save(fitted, run.kept(seed))
        return [
            {"step": step} | {f"validation_{name}": value for name, value in run.validate(model(seed)).items()}
            for step, model in {0: run.start, run.account.steps: run.replica}.items()
        ]

    def lay(self, replica: PreTrainedModel, run: AttackRun, path: Path) -> None:
        linear_map.install(replica, run.seen, linear_map.load(path))

    def keep(self, replica: torch.nn.Module, run: AttackRun, path: Path) -> None:
        """Its weights are what is kept, see `train`."""

    def steps(self, account: Account) -> int:
        return -(-len(account.samples) // linear_map.BATCH)

    def batch(self, recipe: Recipe) -> int:
        return linear_map.BATCH

    def samples(self, account: Account, steps: int) -> int:
        return len(account.samples) if steps else 0

    def flops(self, account: Account, steps: int) -> int:
        """All of the fit, or nothing: see ridge_map.flops."""
        tokens = sum(account.lengths)
        size = account.width, self.previous, account.seen.below
        return ridge_map.flops(tokens, *size, self.scaled) if steps else 0

    def foreseen(self, tokens: int, epochs: float, secured: SecuredSet, seen: View, width: int) -> float:
        return ridge_map.flops(tokens, width, self.previous, seen.below)

    def words(self, recipe: Recipe, usual: Recipe) -> str:
        drawn = ", texts drawn" * (self.texts == "drawn")
        weighed = ", inputs scaled" * self.scaled + ", first tokens apart" * self.first_apart
        size = f"batch {linear_map.BATCH} x {recipe.length} tokens"
        return f"ridge, {self.previous} previous tokens, {size}{drawn}{weighed}"
