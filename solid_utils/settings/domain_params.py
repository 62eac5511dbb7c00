"""Sections of configs/domains.yaml: customization data that packages carry or make, each with sizes of its own."""

from typing import Annotated, Literal

from pydantic import Field

from solid_utils.settings.sections import Name, Positive, Section, Seed


class DomainSets(Section):
    """Items of each set, drawn by `seed`; no item stands in two."""

    seed: Seed = 42
    train: Positive
    validation: Positive
    test: Positive
    prompt: Positive | None = (
        None  # characters of a prompt at most; longer ones are left out, of any length if not given
    )
    length: Positive | None = None  # tokens a sample in customization cells; the tier's if not given

    @property
    def sizes(self) -> dict[str, int]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Reasoning(DomainSets):
    """Problems that reasoning-gym makes: kind -> {make: its generator, and the generator's own options}."""

    source: Literal["reasoning"]
    kinds: Annotated[dict[Name, dict], Field(min_length=1)]


class Functions(DomainSets):
    """Functions of installed packages; those of `apart` are test items only."""

    source: Literal["functions"]
    packages: Annotated[list[Name], Field(min_length=1)]
    apart: list[Name] = []
    characters: Positive = 240  # of a body at most, and of the docstring that is shown


class Subjects(DomainSets):
    """Questions of MMLU subjects; those of `tested` are test items only (the paper's Table 6 scores on them)."""

    source: Literal["subjects"]
    subjects: Annotated[list[str], Field(min_length=1)]
    tested: list[str] = []


class Pairs(DomainSets):
    """Pairs of a better and a worse answer that a package carries."""

    source: Literal["pairs"]


Domain = Annotated[Reasoning | Functions | Subjects | Pairs, Field(discriminator="source")]
