"""Sections of params.yaml that say where raw data come from and how they are split."""

from typing import Annotated, Literal

from pydantic import Field

from solid_utils.settings.sections import Positive, Section, Seed

PACKAGED_ITEMS = 985 + 13_930  # distinct Alpaca and MMLU rows of the pinned packages
SUBJECTS = 57
MADE = ("math",)  # customization data from a package (reasoning-gym)


class Halves(Section):
    alpaca: Positive
    mmlu: Positive


class Benchmark(Section):
    """`mmlu` and `c4` are rows in all; `mmlu_more` (questions) and `mmlu_examples` are rows a subject."""

    mmlu: Positive
    mmlu_more: Positive
    mmlu_examples: Positive
    c4: Positive


COMMIT = r"[0-9a-f]{40}"  # of a git repository, as the hub's are
HubDomain = Literal["math", "code", "medical", "law", "finance", "alignment"]  # Table 8


class CustomizationSets(Section):
    train: Positive
    validation: Positive
    test: Positive
    hub: list[HubDomain] = []  # drawn from Table 8's own sources (data/domains.py); math else is made here


class HubSets(Section):
    """What hub_sets.py draws; `characters`: the longest prompt that is kept.

    Of 13,132 packaged prompts with at most 1,800 none has 512 tokens, by SmolLM2's or Mistral-7B's tokenizer.
    """

    attack: Positive
    validation: Halves
    evaluation: Halves
    characters: Positive


class Data(Section):
    source: Literal["packaged", "hub"]
    seed: Seed
    validation: Halves
    evaluation: Halves
    benchmark: Benchmark
    customization: CustomizationSets
    hub: HubSets
    revisions: dict[str, Annotated[str, Field(pattern=f"^{COMMIT}$")]] = {}  # data set -> commit, where none is pinned

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains with customization data: what is made here, and what comes from the hub."""
        return tuple(dict.fromkeys([*MADE, *self.customization.hub]))

    def holds(self, name: str) -> int:
        """Items of the attack, validation or evaluation set, which samples are drawn from."""
        hub = self.source == "hub"
        if name != "attack":
            halves: Halves = getattr(self.hub if hub else self, name)
            return halves.alpaca + halves.mmlu
        benchmark = self.benchmark.mmlu + SUBJECTS * (self.benchmark.mmlu_more + self.benchmark.mmlu_examples)
        left = PACKAGED_ITEMS - benchmark - self.holds("validation") - self.holds("evaluation")
        return self.hub.attack if hub else left


class Published(Section):
    """Where the paper's own benchmarks come from, and who rates MT-Bench."""

    mirror: str | None
    judge: str | None
