"""Exact least squares: where one matrix is secret, its input and output give it away, and nothing is trained.

Not in the paper. The attacker holds everything but one matrix W (outputs, inputs), and the bias b where there is one.
He computes what enters it from the open weights, sees what leaves it, and solves W X + b = Y in float64. As many
independent tokens as W has inputs (one more for a secret bias) fix it. He may ask any text, so he draws tokens, works
out what they would hand to W before he asks, and asks the draw with the best conditioned inputs. Where the deployment
multiplies in bfloat16, its rounding is noise in Y, and several tokens an input (`times`) average it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.attacks.attack import Attack
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored, libraries
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.starts import generator
from solid_utils.deployment.view import View
from solid_utils.model import accelerator, models
from solid_utils.model.forward import pad
from solid_utils.model.operands import Matrix, entering
from solid_utils.settings.attack_params import Recipe
from solid_utils.settings.sections import Positive

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun

DRAWS = 8  # how often tokens are drawn before any is asked
BATCH = 16  # texts at a time
ROUNDING = torch.finfo(torch.float32).eps  # what the forward computes in; smaller singular values are noise


class LeastSquares(Attack):
    """Its queries share out as many tokens as W has inputs, evenly."""

    usual: ClassVar = "sem"
    fitted: ClassVar = True
    follows: ClassVar = False

    attack: Literal["least_squares"]
    times: Positive = 1  # tokens for each of W's inputs

    def own_texts(self, run: AttackRun) -> list[dict]:
        """The best conditioned draw. Raises StudyError where the queries do not hold enough tokens."""
        one = self.secret(run.seen)
        lengths = shares(self.times * one.unknowns, run.recipe.queries, run.recipe.length)
        opened = models.open_part(run.victim, run.secured.names, shared=True)
        seed = run.budget.attack.seeds[0]
        vocabulary = len(run.tokenizer)
        draws = [drawn(lengths, vocabulary, seed, number) for number in range(DRAWS)]
        with models.precision(run.spec):
            return best(opened, one, draws, run.recipe.length)

    def secret(self, seen: View) -> Matrix:
        """The one matrix. Raises StudyError where the set is something else."""
        if seen.matrix is None:
            raise StudyError(
                f"attack least_squares: '{self.secured}' is not one matrix; secure one, such as layer 0 k, or use "
                "attack: stitch"
            )
        return seen.matrix

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """All its texts; there is nothing to choose, so no validation answers."""
        return account.samples if steps else []

    def sees(self, seen: View) -> str:
        return self.secret(seen) and seen.operands

    def numbers(self, seen: View, width: int, vocabulary: int) -> int:
        """What leaves the matrix; what enters it he computes."""
        return self.secret(seen).outputs

    def train(self, run: AttackRun, seed: int) -> list[dict]:
        oracle = Oracle(run.victim, run.secured, run.tokenizer.pad_token_id)
        replica = models.open_part(run.victim, run.secured.names, shared=True)
        with models.precision(run.spec):
            install(replica, self.secret(run.seen), *solved(oracle, run.samples))
        self.keep(replica, run, run.kept(seed))
        return [
            {"step": step} | {f"validation_{name}": value for name, value in run.validate(model(seed)).items()}
            for step, model in {0: run.start, run.account.steps: run.replica}.items()
        ]

    def measured(self, run: AttackRun, model: Callable[[], PreTrainedModel]) -> Scored:
        """relative_error: |W' - W| / |W| of the secret matrix, Frobenius norms, as the replica keeps it (bfloat16)."""
        name = f"{self.secret(run.seen).path}.weight"
        true, found = (one.get_parameter(name).detach().double() for one in (run.victim, model()))
        score = {"metric": "relative_error", "value": ((found - true).norm() / true.norm()).item()}
        unknown = dict.fromkeys(("stderr", "chance", "floor"), float("nan"))
        how = {"n": true.numel(), "task_version": "1.0", "forward_tokens": 0, "libraries": libraries()}
        return Scored([{"benchmark": "weights", "domain": "fidelity", "shots": 0} | score | unknown | how])

    def steps(self, account: Account) -> int:
        return -(-len(account.samples) // BATCH)

    def batch(self, recipe: Recipe) -> int:
        return BATCH

    def samples(self, account: Account, steps: int) -> int:
        return len(account.samples) if steps else 0

    def flops(self, account: Account, steps: int) -> int:
        """All of it, or nothing: see `cost`."""
        return cost(self.secret(account.seen), account.seen.below, self.times) if steps else 0

    def foreseen(self, tokens: int, epochs: float, secured: SecuredSet, seen: View, width: int) -> float:
        return cost(self.secret(seen), seen.below, self.times)

    def words(self, recipe: Recipe, usual: Recipe) -> str:
        more = f", {self.times} tokens an input" * (self.times > 1)
        return f"least squares in float64, best conditioned of {DRAWS} draws of tokens{more}"


def shares(needed: int, queries: int, longest: int) -> list[int]:
    """Tokens of each query, `needed` in all, shared out evenly; fewer queries where one would hold less than two.

    Raises StudyError where that takes more than `longest` tokens a query: fewer tokens leave the matrix open.
    """
    if needed > queries * longest:
        raise StudyError(
            f"attack least_squares: the matrix takes {needed} independent tokens, {queries} queries of at most "
            f"{longest} are {queries * longest}; ask at least {-(-needed // longest)} queries"
        )
    queries = max(1, min(queries, needed // 2))
    return [needed // queries + (number < needed % queries) for number in range(queries)]


def drawn(lengths: list[int], vocabulary: int, seed: int, number: int) -> list[dict]:
    """Samples of these lengths, of drawn token ids; none stands twice as long as the vocabulary lasts."""
    stream = generator(seed, f"least squares, draw {number}")
    wanted = sum(lengths)
    ids: list[int] = []
    while len(ids) < wanted:
        ids += torch.randperm(vocabulary, generator=stream).tolist()
    ends = list(itertools.accumulate(lengths))
    return [
        {"id": f"drawn-{place}", "source": "drawn", "input_ids": ids[end - length : end], "answer_start": length}
        for place, (length, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def best(opened: PreTrainedModel, one: Matrix, draws: list[list[dict]], longest: int) -> list[dict]:
    """The draw whose inputs have the smallest condition number. Nothing is asked: `opened` is the open part.

    What no text of `longest` tokens reaches need not be known (after a LayerNorm without bias inputs sum to nothing),
    so it is left out. Raises StudyError where every draw leaves open what such texts of as many tokens reach.
    """
    rows = sum(len(sample["input_ids"]) for sample in draws[0])
    accelerator.check_memory(8 * 6 * one.unknowns * rows, f"least squares on {one.inputs} inputs")
    tokens = [token for samples in draws[:2] for sample in samples for token in sample["input_ids"]]
    long = [{"input_ids": tokens[start : start + longest]} for start in range(0, len(tokens), longest)]
    reachable = rank(torch.linalg.svdvals(known(opened, one, long)))
    spectra = [torch.linalg.svdvals(known(opened, one, samples)) for samples in draws]
    if (most := max(map(rank, spectra))) < reachable:
        raise StudyError(
            f"attack least_squares: {rows} tokens reach {most} of {reachable} directions of what enters "
            f"{one.path}; ask fewer and longer queries"
        )
    places = [place for place, values in enumerate(spectra) if rank(values) == reachable]
    return draws[min(places, key=lambda place: (spectra[place][0] / spectra[place][reachable - 1]).item())]


def rank(values: Tensor) -> int:
    """How many of these singular values, largest first, stand above the forward's rounding."""
    return int((values > ROUNDING * values[0]).sum())


def known(opened: PreTrainedModel, one: Matrix, samples: list[dict]) -> Tensor:
    """What enters the matrix, computed from open weights alone: float64 (tokens, unknowns)."""
    rows = []
    for start in range(0, len(samples), BATCH):
        ids, mask = batch_of(opened, samples[start : start + BATCH])
        rows.append(entering(opened, one.path, ids, mask))
    return with_one(torch.cat(rows), one)


def batch_of(model: PreTrainedModel, samples: list[dict]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (texts, longest) each, where the model is."""
    ids, mask = pad([sample["input_ids"] for sample in samples], 0)
    return ids.to(model.device), mask.to(model.device)


def with_one(inputs: Tensor, one: Matrix) -> Tensor:
    """Inputs (tokens, inputs) in float64 on the CPU, with a last column of ones where there is a bias."""
    inputs = inputs.double().cpu()
    return torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1) if one.bias else inputs


def solved(oracle: Oracle, samples: list[dict], batch: int = BATCH) -> tuple[Tensor, Tensor | None]:
    """Weight (outputs, inputs) and bias (outputs,) of the secret matrix, float64; the oracle is asked `batch` texts at
    a time. Raises StudyError with fewer tokens than unknowns, or where the set is not one matrix."""
    entered = []
    left = []
    for start in range(0, len(samples), batch):
        ids, mask = pad([sample["input_ids"] for sample in samples[start : start + batch]], 0)
        inputs, outputs = oracle.operands(ids.to(oracle.device), mask.to(oracle.device))
        entered.append(inputs)
        left.append(outputs.double().cpu())
    one = oracle.view.matrix
    rows = with_one(torch.cat(entered), one)
    if len(rows) < one.unknowns:
        raise StudyError(
            f"attack least_squares: {len(rows)} tokens leave {one.path} open, it takes {one.unknowns} independent "
            "ones; ask more queries"
        )
    # gelsd: the smallest solution where no text reaches a direction.
    found = torch.linalg.lstsq(rows, torch.cat(left), rcond=ROUNDING, driver="gelsd").solution  # (unknowns, outputs)
    return found[: one.inputs].T, found[one.inputs] if one.bias else None


@torch.no_grad()
def install(model: PreTrainedModel, one: Matrix, weight: Tensor, bias: Tensor | None) -> None:
    """Put weight (outputs, inputs) and bias (outputs,) in the place of the secret matrix of the attacker's model."""
    model.get_parameter(f"{one.path}.weight").copy_(one.stored(weight))
    if bias is not None:
        model.get_parameter(f"{one.path}.bias").copy_(bias)


def cost(one: Matrix, below: int, times: int) -> int:
    """FLOPs for n unknowns and m = `times` n tokens: all draws run through the open layers below; singular values of m
    rows take 4 m n^2 - 4/3 n^3, once those of 2 m rows; the solve 4 m n^2 + 8 n^3 and 2 n^2 an output (Golub and Van
    Loan, 5.5 and 8.6)."""
    size = one.unknowns
    spectra = DRAWS * (12 * times - 4) + 24 * times - 4  # thirds of n^3
    solve = (4 * times + 8) * size**3 + 2 * size**2 * one.outputs
    return 2 * (DRAWS + 2) * times * size * below + spectra * size**3 // 3 + solve
