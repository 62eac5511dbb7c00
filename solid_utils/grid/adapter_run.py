"""One attack on a deployment that its customer, or its vendor, has fine-tuned: what the thief has of it differs."""

import math
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel

from solid_utils.attacks import linear_map, part
from solid_utils.attacks.run import AttackRun
from solid_utils.core.scored import Scored
from solid_utils.deployment import oracle, starts
from solid_utils.evaluation import fidelity
from solid_utils.grid.adapter_cells import AdapterCell, Tuning
from solid_utils.grid.domain_sets import DomainRun
from solid_utils.model import models, ridge_map
from solid_utils.settings import params
from solid_utils.training import recorded

OF_THE_ATTACK = [
    "model",
    "revision",
    "tier",
    "dtype",
    "secured",
    "share",
    "attack",
    "start",
    "recipe",
    "queries",
    "seed",
]


def tuned(tuning: Tuning, study: params.Params) -> Path:
    """The tensors that a fine-tuning changed, as they wait in its state."""
    run = DomainRun(tuning.model, tuning.name, tuning.study(study))
    run.train()
    return run.state.folder / "customized.safetensors"


class AdapterRun(AttackRun):
    """An attack run whose victims are `deltas` laid over the untouched model, one a deployment; none: that model.

    Its replica is scored against the first of them. Nothing is chosen by validation.
    """

    room = "grid"

    def __init__(self, cell: AdapterCell, study: params.Params, deltas: list[Path]):
        self.cell = cell
        self.deltas = deltas
        super().__init__(cell.model, cell.name, cell.study(study))
        self.validation = []
        self.forget_victim()  # the untouched one, by which sets and samples were looked at

    @property
    def scored_with(self) -> dict:
        listed = self.study.published_adapters
        own = {"known": self.cell.known, "domains": self.cell.domains, "tuning": listed.tunings[self.cell.tuning]}
        return super().scored_with | own

    @cached_property
    def victim(self) -> PreTrainedModel:
        return self.deployed(0)

    def deployed(self, number: int) -> PreTrainedModel:
        """A deployment, whole."""
        model = self.untouched()
        if self.deltas:
            models.load_delta(model, self.deltas[number])
        return model

    def untouched(self) -> PreTrainedModel:
        return models.load_victim(self.model, self.spec)[0]

    def handed_out(self, number: int = 0) -> PreTrainedModel:
        """What the thief has of a deployment: its open part, or the vendor's where the adapter is hidden from him."""
        plain = self.untouched() if self.cell.known == "hidden" else self.deployed(number)
        return models.open_part(plain, self.secured.names, self.shares)

    @property
    def deployments(self) -> int:
        return max(1, len(self.deltas))

    def distance(self) -> float:
        """Of the secured tensors from the untouched model's, relative to their norm."""
        mine = dict(self.victim.named_parameters())
        plain = dict(self.untouched().named_parameters())
        off = sum((mine[name] - plain[name]).double().square().sum().item() for name in self.secured.names)
        return math.sqrt(off / sum(plain[name].double().square().sum().item() for name in self.secured.names))

    def _base(self):
        if self.start_name != "public_base":
            return None
        return dict(self.untouched().named_parameters()).get

    def start(self, seed: int) -> torch.nn.Module:
        attacker = self.handed_out()
        drawn = starts.draw(attacker, self.secured.names, self.start_name, seed, base=self._base())
        starts.apply(attacker, drawn)
        self.attack.shape(attacker, self)
        return attacker

    def replica(self, seed: int) -> torch.nn.Module:
        replica = self.handed_out()
        self.attack.lay(replica, self, self.kept(seed))
        return replica

    def validate(self, attacker: torch.nn.Module) -> dict[str, float]:
        """Nothing: a cell ends with its schedule."""
        return {}

    def asked(self, samples: dict[int, dict], folder: Path) -> recorded.Recorded | None:
        """Each sample is asked of one deployment, in turns."""
        parts = []
        for number in range(self.deployments):
            asks = oracle.Oracle(self.deployed(number), self.secured, self.tokenizer.pad_token_id)
            parts.append(self.attack.record(asks, self.share_of(samples, number), folder / str(number)))
        return recorded.together(parts)

    def entered(self, attacker: torch.nn.Module) -> recorded.Recorded | None:
        """What enters the secured part of the deployment that a sample is asked of, as far as the thief can tell."""
        if not self.seen.first:
            return None
        parts = []
        for number in range(self.deployments):
            mine = self.share_of(self._trained_on(), number)
            folder = self.state.folder / "entered" / str(number)
            parts.append(part.entered(self.handed_out(number), self.seen, mine, folder, self.tokenizer.pad_token_id))
        return recorded.together(parts)

    def share_of(self, samples: dict[int, dict], number: int) -> dict[int, dict]:
        return {at: sample for at, sample in samples.items() if at % self.deployments == number}

    def train(self, seed: int) -> list[dict]:
        if self.attack.fitted and self.deployments > 1:
            return self.state.cached(f"history-{seed}", lambda: self.fitted(seed))
        return super().train(seed)

    def fitted(self, seed: int) -> list[dict]:
        """The linear map of all deployments' equations together, chosen as linear_map.fit chooses for one."""
        attack = self.attack
        total, held_out = self.equations(0)
        for number in range(1, self.deployments):
            more, more_held_out = self.equations(number)
            total += more
            held_out += more_held_out
        linear_map.save(ridge_map.chosen(total, held_out, attack.previous, attack.scaled), self.kept(seed))
        return [{"step": step} for step in (0, self.account.steps)]

    def equations(self, number: int) -> tuple[ridge_map.Equations, ridge_map.Equations]:
        """Of one deployment's texts, and of every ninth of them, which only chooses."""
        asks = oracle.Oracle(self.deployed(number), self.secured, self.tokenizer.pad_token_id)
        mine = list(self.share_of(dict(enumerate(self.samples)), number).values())
        kept = [sample for at, sample in enumerate(mine) if at % ridge_map.HELD_OUT]
        thief = self.handed_out(number)
        with models.precision(self.spec):
            total = linear_map.equations(thief, asks, kept, self.attack.previous)
            return total, linear_map.equations(thief, asks, mine[:: ridge_map.HELD_OUT], self.attack.previous)

    def start_scores(self, seed: int) -> Scored:
        return Scored(**self.state.cached(f"start-{seed}", lambda: asdict(self.scores(self.start(seed)))))

    def scores(self, replica: torch.nn.Module) -> Scored:
        """Fidelity to the first deployment on held-out prompts and texts."""
        with models.precision(self.spec):
            wanted = self.budget.evaluation
            return fidelity.held_out(replica, self.remembered, self.tokenizer, self.evaluation, wanted)

    def rows(self, words: str) -> list[dict]:
        """Train and score; columns schema.ADAPTERS. `words`: of the fine-tuning."""
        seed = self.cell.seed
        self.train(seed)
        start, end = self.start_scores(seed), self.end_scores(seed)
        facts = self.row(seed, self.account.steps)
        row = {name: facts[name] for name in OF_THE_ATTACK} | {"cell": self.cell.name, "known": self.cell.known}
        row |= {"deployments": self.deployments, "tuned": words, "distance": self.distance()}
        row |= {"trained_on": "+".join(self.cell.domains) if self.deltas else "none"}
        found = {}
        for ending, scored in (("_start", start), ("", end)):
            for one in scored.rows:
                if one["metric"] in ("agreement", "kl"):
                    mine = found.setdefault(one["benchmark"], {"benchmark": one["benchmark"], "n": one["n"]})
                    mine[f"{one['metric']}{ending}"] = one["value"]
        return [row | one for one in found.values()]
