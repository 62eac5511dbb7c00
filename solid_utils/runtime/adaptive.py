"""Attacks on boundary states through a defence that the attacker knows of: the linear map, SEM, and SEM beside the map.

python -m solid_utils.runtime.adaptive MODEL 'layers 0' FOLDER     FOLDER/defended.csv

He adapts in two ways. Against noise that hangs on the state he changes a question in its last bit, asks it so often,
and keeps the mean. Against rounding he takes what he is shown for what it is, a cell: all values that round to it. A
state of his replica that lies in the cell is right, one outside is off by its distance from the cell. For SEM that is
the loss; the linear map is fitted again on its own states, each moved into its cell as little as may be.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.attacks import distances, linear_map
from solid_utils.attacks.beside_map import Branch
from solid_utils.core import errors, schema
from solid_utils.core.paths import DEFENDED_FILE
from solid_utils.deployment import starts
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.deployment.view import View
from solid_utils.evaluation import fidelity
from solid_utils.model import models, sampling
from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers
from solid_utils.runtime.boundary import LEVELS
from solid_utils.runtime.defences import Guarded, defended
from solid_utils.runtime.manifest import Boundary
from solid_utils.settings import params
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training

LINEAR, SEM, BOTH = ATTACKS = ("linear map", "sem", "sem_linear")
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon"}  # in words
TURNS = 2  # how often a linear map is fitted again on states moved into their cells
BATCH = 16  # texts of a question
LENGTH = 64  # tokens of a text, at most
NOISES = (0.1, 0.5)


def usual(noises: tuple[float, ...] = NOISES) -> list[Boundary]:
    """No defence, each rounding, each of these levels of noise."""
    rounding = [Boundary(), Boundary(rounding="bfloat16"), Boundary(rounding="int8")]
    return rounding + [Boundary(noise=noise) for noise in noises]


def cell(shown: Tensor, rounding: str) -> tuple[Tensor, Tensor]:
    """The least and the greatest values that round to what was shown, (..., width) each; without rounding itself."""
    if rounding in LEVELS:  # the largest of a token is so many steps of its scale (boundary.rounded)
        half = shown.abs().amax(-1, keepdim=True) / LEVELS[rounding] / 2
    elif rounding == "bfloat16":  # 8 digits: neighbours are 2^(exponent - 8) apart, where the fraction is in [1/2, 1)
        half = torch.ldexp(torch.ones_like(shown), torch.frexp(shown).exponent - 9).where(shown != 0, 0)
    else:
        half = torch.zeros_like(shown)
    return shown - half, shown + half


def from_cell(states: Tensor, shown: Tensor, rounding: str) -> Tensor:
    """distances.relative_mse from the nearest values that round to what was shown; (tokens, width) -> (tokens,)."""
    near = torch.clamp(states.detach(), *cell(shown, rounding))
    return (states - near).square().sum(-1) / shown.square().sum(-1)


class Told:
    """What was shown of some texts, asked once, for every attack; it stands where linear_map.fit takes an oracle."""

    def __init__(self, oracle: Guarded, samples: list[dict]):
        self.view = oracle.view
        self.secured = oracle.secured
        self.samples = samples
        self.rounding = oracle.rounding
        self.states: dict[tuple, Tensor] = {}  # tokens -> (tokens, width)
        for ids, mask in batches(samples):
            shown = oracle.boundary(ids, mask)
            for sample_ids, real, own in zip(ids, mask.bool(), shown, strict=True):
                self.states[tuple(sample_ids[real].tolist())] = own[real]
        self.queries = oracle.sequences
        self.tokens = oracle.tokens
        self.width = oracle.width
        self.maps: dict[bool, Tensor] = {}  # with cells or without -> the linear map, which two attacks share

    def boundary(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As Oracle.boundary, (batch, tokens, width); zeros at padding."""
        real = attention_mask.bool()
        found = torch.zeros(*input_ids.shape, self.width)
        found[real] = torch.cat([self.states[tuple(ids[own].tolist())] for ids, own in zip(input_ids, real)])  # noqa: B905
        return found

    def moved(self, replica: PreTrainedModel) -> "Told":
        """The same with the replica's own states, each moved into the cell of what was shown."""
        twin = object.__new__(Told)
        twin.__dict__ |= vars(self) | {"states": {}}
        layers = DecoderLayers(replica)
        for ids, mask in batches(self.samples):
            with torch.no_grad():
                own = layers.boundary(ids, self.view.last)
            for sample_ids, real, state in zip(ids, mask.bool(), own, strict=True):
                tokens = tuple(sample_ids[real].tolist())
                twin.states[tokens] = torch.clamp(state[real], *cell(self.states[tokens], self.rounding))
        return twin


def batches(samples: list[dict]) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and masks, (batch, tokens) each."""
    for first in range(0, len(samples), BATCH):
        yield pad([sample["input_ids"] for sample in samples[first : first + BATCH]], 0)


@dataclass(frozen=True)
class Attacker:
    """Who attacks: what he holds, and how he trains."""

    victim: PreTrainedModel  # of which he takes the open part only
    secured: SecuredSet
    recipe: Recipe  # of SEM
    seed: int
    previous: int = 2  # tokens that the linear map looks back

    def replica(self, attack: str, told: Told, cells: bool) -> PreTrainedModel:
        """His replica from what was told; `cells`: he adapts to its rounding."""
        if attack != SEM and cells not in told.maps:
            told.maps[cells] = self.fitted(told, cells)
        fitted = told.maps.get(cells)
        if attack == LINEAR:
            return self.with_map(told.view, fitted)
        attacker = models.open_part(self.victim, self.secured.names)
        starts.apply(attacker, starts.draw(attacker, self.secured.names, "skip", self.seed))
        if attack == BOTH:
            Branch(attacker, told.view, fitted)
        self.train(attacker, told, cells)
        return attacker.eval()

    def fitted(self, told: Told, cells: bool) -> Tensor:
        """The linear map's weights (features, width)."""
        opened = models.open_part(self.victim, self.secured.names)
        weights = linear_map.fit(opened, told, told.samples, self.previous)
        for _ in range(TURNS if cells else 0):
            moved = told.moved(self.with_map(told.view, weights))
            weights = linear_map.fit(opened, moved, told.samples, self.previous)
        return weights

    def with_map(self, seen: View, weights: Tensor) -> PreTrainedModel:
        """The open part with the map in place of the secret."""
        replica = models.open_part(self.victim, self.secured.names)
        linear_map.install(replica, seen, weights)
        return replica

    def train(self, attacker: PreTrainedModel, told: Told, cells: bool) -> None:
        """SEM: the replacement towards the states that were told, in place, by the study's own engine."""
        layers = DecoderLayers(attacker)

        def loss(_: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            real = batch["attention_mask"].bool()
            own = layers.boundary(batch["input_ids"], told.view.last)[real].float()
            shown = told.boundary(batch["input_ids"], batch["attention_mask"])[real]
            off = from_cell(own, shown, told.rounding) if cells else distances.relative_mse(own, shown)
            return distances.mean(off, batch["attention_mask"], self.recipe.first_weight)

        with TemporaryDirectory() as folder:
            training.train(
                attacker, set(self.secured.names), told.samples, loss, lambda _: {}, self.recipe, self.seed, 0,
                Path(folder),
            )  # fmt: skip


def adapting(boundary: Boundary, askings: int) -> dict[str, tuple[int, bool]]:
    """Ways to attack a defence: name -> how often each text is asked, and whether cells are known."""
    ways = {"no": (1, False)}
    if boundary.noise:
        ways["mean"] = (askings, False)
    elif boundary.rounding != "none":
        ways["cells"] = (1, True)  # with noise below the rounding, no cell holds the state for sure
    return ways


def attacked(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    samples: list[dict],
    held_out: list[dict],
    recipe: Recipe,
    boundaries: list[Boundary],
    askings: int = 16,
    attacks: tuple[str, ...] = ATTACKS,
    seed: int = 42,
    previous: int = 2,
) -> list[dict]:
    """For each defence, attack and way to adapt a row a held-out text: schema.DEFENDED without the model's own columns.

    Beside them the customer's own model through the defence, attack "none". Agreement and KL are with the plain
    victim. Raises StudyError where no boundary states are visible.
    """
    plain = fidelity.Remembered(lambda: victim)
    attacker = Attacker(victim, secured, recipe, seed, previous)
    rows = []
    for boundary in boundaries:
        common = {"rounding": boundary.rounding, "noise": boundary.noise, "seed": seed}
        for way, (times, cells) in adapting(boundary, askings).items():
            told = Told(Guarded(victim, secured, tokenizer.pad_token_id, boundary, times), samples)
            if way == "no":  # now that it is known that states are visible
                fidelity.fidelity(victim, plain, tokenizer, held_out)  # plain: remembered from here on
                with defended(victim, told.view.last, boundary) as customers:
                    own = common | {"attack": "none", "recipe": "none", "adapts": "no"}
                    own |= {"askings": 0, "queries": 0, "tokens": 0}
                    rows += scored(own, customers, plain, tokenizer, held_out)
            for attack in attacks:
                row = common | {
                    "attack": attack,
                    "recipe": words(attack, recipe, previous, len(samples)),
                    "adapts": way,
                }
                row |= {"askings": times, "queries": told.queries, "tokens": told.tokens}
                rows += scored(row, attacker.replica(attack, told, cells), plain, tokenizer, held_out)
                print(f"{boundary.rounding} {boundary.noise:g}: {attack}, adapts: {way}", flush=True)
    return rows


def scored(
    row: dict, model: PreTrainedModel, plain: fidelity.Remembered, tokenizer, held_out: list[dict]
) -> list[dict]:
    """The row for each held-out text."""
    texts = fidelity.fidelity(model, plain, tokenizer, held_out).texts
    return [
        row | {"item": one["item"], "agreeing": one["agreeing"], "weight": one["tokens"], "kl": one["kl"]}
        for one in texts
    ]


def words(attack: str, recipe: Recipe, previous: int, texts: int) -> str:
    """The column `recipe`."""
    fitted = f"ridge, {previous} previous tokens"
    steps = recipe.total_steps(texts)
    trained = (
        f"{OPTIMIZERS[recipe.optimizer]} {recipe.learning_rate:g}, {recipe.schedule}, {steps} steps of {recipe.batch}"
    )
    return {LINEAR: fitted, SEM: trained, BOTH: f"{trained}, beside {fitted}"}[attack]


def command() -> None:
    """Attack one model's deployment with texts and the SEM recipe of its tier, and write what came out."""
    parser = argparse.ArgumentParser(prog="solid_utils.runtime.adaptive", description="Attack through defences.")
    parser.add_argument("model", help="a section of configs/models.yaml")
    parser.add_argument("secured", help="what is secured, such as 'layers 0'")
    parser.add_argument("folder", type=Path, help=f"where {DEFENDED_FILE} is written")
    parser.add_argument("--texts", type=int, default=100, help="that the attacker asks about, of at most 64 tokens")
    parser.add_argument("--steps", type=int, default=100, help="of SEM")
    parser.add_argument("--held-out", type=int, default=16, help="texts that the scores are over")
    parser.add_argument("--noise", type=float, nargs="*", default=NOISES, help="levels, in root mean squares")
    wanted = parser.parse_args()
    with errors.one_line():
        study = params.load()
        torch.set_num_threads(study.threads)
        spec, budget = study.model(wanted.model), study.budgets(wanted.model)
        victim, tokenizer, revision = models.load_victim(wanted.model, spec)
        secured = secured_set(victim, wanted.secured)
        recipe = budget.attack.sem.model_copy(update={"steps": wanted.steps, "validate_every": max(1, wanted.steps)})
        samples = sampling.texts("attack", tokenizer, LENGTH, wanted.texts)
        held_out = sampling.samples("evaluation", tokenizer, budget.length, wanted.held_out)
        defences = usual(tuple(wanted.noise))
        found = attacked(victim, secured, tokenizer, samples, held_out, recipe, defences, seed=budget.attack.seeds[0])
        identity = {"model": wanted.model, "revision": revision, "tier": study.tier, "dtype": spec.dtype}
        identity |= facts(secured)
        schema.write([identity | row for row in found], schema.DEFENDED, wanted.folder / DEFENDED_FILE)


if __name__ == "__main__":
    command()
