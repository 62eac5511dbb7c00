"""What an attack asks of the oracle and trains on, once for each distinct query (training/recorded.py keeps it)."""

from pathlib import Path

import torch
from torch import Tensor

from solid_utils.deployment.oracle import Oracle
from solid_utils.training.recorded import Recorded, record


def answered(oracle: Oracle, samples: dict[int, dict], folder: Path, repeats: int = 1) -> Recorded:
    """What leaves the secured part for these samples, asked once and kept in bfloat16.

    With `repeats` each is asked so often and the mean is kept: it averages noise that is fresh at every asking.
    Raises StudyError where nothing that SEM could learn from is visible.
    """

    def compute(input_ids: Tensor, mask: Tensor, _: Tensor) -> Tensor:
        return sum(oracle.leaving(input_ids, mask) for _ in range(repeats)) / repeats

    return record(folder, samples, compute, oracle.pad_id, oracle.width, torch.bfloat16)


def answer_logits(oracle: Oracle, samples: dict[int, dict], folder: Path, repeats: int = 1) -> Recorded:
    """The full logits that predict the answer tokens of these samples, asked and kept as in `answered`."""

    def compute(*inputs: Tensor) -> Tensor:
        return sum(oracle.outputs(*inputs) for _ in range(repeats)) / repeats

    return record(folder, samples, compute, oracle.pad_id, oracle.vocabulary, torch.bfloat16, answers=True)
