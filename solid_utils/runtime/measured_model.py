"""A victim with all that a vendor's measurements ask of it: how each of their commands begins."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model import models, sampling
from solid_utils.settings import params


@dataclass(frozen=True)
class Measured:
    """A model of the study, loaded."""

    name: str
    study: params.Params
    budget: params.Tier
    victim: PreTrainedModel
    tokenizer: object
    revision: str

    def identity(self, secured: SecuredSet) -> dict:
        """The columns that name a deployment; nothing here runs under autocast."""
        dtype = self.study.model(self.name).weights
        named = {"model": self.name, "revision": self.revision, "tier": self.study.tier, "dtype": dtype}
        return named | facts(secured)

    def web_texts(self) -> list[dict]:
        """The texts of C4 whose floor is known, as samples."""
        apart = self.budget.evaluation.apart
        return sampling.apart(self.tokenizer, apart.length, apart.texts)["c4"]


def load(name: str) -> Measured:
    """A model by its section of configs/models.yaml. Raises what params.load and models.load_victim raise."""
    study = params.load()
    torch.set_num_threads(study.threads)
    victim, tokenizer, revision = models.load_victim(name, study.model(name))
    return Measured(name, study, study.budgets(name), victim, tokenizer, revision)


def parser(command: str, description: str, file: str) -> argparse.ArgumentParser:
    """Its first two arguments: a model, and where `file` is written."""
    made = argparse.ArgumentParser(prog=f"solid_utils.runtime.{command}", description=description)
    made.add_argument("model", help="a section of configs/models.yaml")
    made.add_argument("folder", type=Path, help=f"where {file} is written")
    return made
