"""What an attacker sees of a deployment follows from its secured set, and from nothing else (paper 3.1, B.2)."""

from dataclasses import dataclass

from torch import nn

from solid_utils.deployment.secured import SecuredSet
from solid_utils.model.operands import Matrix, matrix
from solid_utils.model.structure import layer_parameters, parameters_after_layers


@dataclass(frozen=True)
class View:
    """Where secret parameters are used, and what is therefore seen.

    Stages: -1 before the layers (embeddings), 0 to depth - 1 the decoder layers, `depth` after them (final norm, untied
    head). A tied head belongs to the embeddings. A layer with a single secret matrix counts as secret: what leaves that
    matrix is seen too, and all attacks but one (least_squares) leave it out.
    """

    stages: tuple[int, ...]  # ascending
    depth: int
    noisy: bool  # Laplace noise on the logits (sap_dp)
    below: int  # parameters of the open layers below the first secret one
    inside: int  # parameters of the layers from the first secret one to the last, all their matrices
    matrix: Matrix | None = None  # where a single matrix is secret, with or without its bias, and nothing else

    @property
    def consecutive(self) -> bool:
        """One secured part, without open layers inside."""
        return bool(self.stages) and self.stages == tuple(range(self.stages[0], self.stages[-1] + 1))

    @property
    def first(self) -> int:
        """The layer before which all is open: the attacker computes what enters it. 0: he starts from token ids."""
        return max(0, self.stages[0]) if self.stages else 0

    @property
    def last(self) -> int:
        """The layer whose output leaves the secured part; `depth` where only the victim's outputs leave it."""
        return self.stages[-1]

    @property
    def outputs_only(self) -> bool:
        """Nothing leaves the secured part but the victim's outputs (sap, fully_secured, a secured head)."""
        return self.consecutive and self.last == self.depth

    def worked(self, trained: SecuredSet) -> int:
        """Parameters that a token works through where the secured part is run without the rest: for counting FLOPs."""
        if self.outputs_only:
            return trained.total - self.below
        return trained.parameters if trained.only_layers else self.inside

    @property
    def pair(self) -> str:
        """What SEM trains on: what enters the secured part, and what leaves it."""
        enters = f"states entering layer {self.first}" if 0 < self.first < self.depth else "token ids"
        enters = "states entering the head" if self.first == self.depth else enters
        return f"{enters} and {self.logits if self.outputs_only else 'boundary states'}"

    @property
    def operands(self) -> str:
        """What is seen around a single secret matrix, more than the boundary states of its layer: the open operations
        before it hand it its input, and those after it take its output."""
        return f"input and output of {self.matrix.path}"

    @property
    def answers(self) -> str:
        """What fine-tuning trains on, and what it leaves unused of all that is seen."""
        ignored = self.logits if self.outputs_only else f"boundary states, {self.logits}"
        return f"{'noisy ' * self.noisy}answers; attacker ignores what he sees: {ignored}"

    def trained_on(self, logits: bool) -> str:
        """`answers`, or what fine-tuning on the logits behind them trains on."""
        if not logits:
            return self.answers
        ignored = "" if self.outputs_only else "; attacker ignores what he sees: boundary states"
        return f"{'noisy ' * self.noisy}answers and their logits{ignored}"

    @property
    def logits(self) -> str:
        """Full logits: an output, or computed from boundary states where all that follows is open."""
        return "noisy logits" if self.noisy else "logits"


def view(model: nn.Module, secured: SecuredSet) -> View:
    """The view of a secured set of `model`. Values of parameters are not looked at."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    inside, after, secret = layer_parameters(model), parameters_after_layers(model), set(secured.names)
    # What is neither after the layers nor inside one is used before them: the embeddings, a tied head with them.
    stages = [-1] if secret - after - {name for names in inside for name in names} else []
    stages += [number for number, names in enumerate([*inside, after]) if secret.intersection(names)]
    first, end = (max(0, stages[0]), stages[-1] + 1) if stages else (0, 0)
    below, between = (
        sum(sizes[name] for names in part for name in names) for part in (inside[:first], inside[first:end])
    )
    return View(tuple(stages), len(inside), secured.noise > 0, below, between, single(model, secured))


def single(model: nn.Module, secured: SecuredSet) -> Matrix | None:
    """The linear map that is all that is secret, its bias with it."""
    paths = {name.rpartition(".")[0] for name in secured.names}
    path = paths.pop() if len(paths) == 1 else ""
    parts = {name for name, _ in model.get_submodule(path).named_parameters(path)} if path else set()
    return matrix(model, path) if parts and parts == set(secured.names) else None
