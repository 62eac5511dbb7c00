"""A curve on each of two victims: every weight of the second has moved, and each is scored against itself."""

import pytest
import torch

from solid_utils.core import schema
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.model import models
from solid_utils.runtime import unquantised
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, SAMPLES


def test_how_far_secret_matrices_have_moved():
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    other = models.clone(victim)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if ".layers.0." in name:
                parameter.mul_(1.1)
            elif ".layers.1." in name:
                parameter.mul_(7)
    distance, share = unquantised.moved(victim, other, secured)
    assert distance == pytest.approx(0.1) and share == 1
    assert unquantised.moved(victim, victim, secured) == (0, 0)


def test_a_curve_is_a_row_a_number_of_queries(tokenizer, tmp_path):
    victim = byte_llama(5)
    secured = secured_set(victim, "layers 0")
    rows = unquantised.measured(victim, secured, tokenizer, SAMPLES[:24], HELD_OUT, (12, 24))
    assert [row["queries"] for row in rows] == [12, 24]
    assert rows[1]["tokens"] == 24 * 12 and rows[1]["kl"] != rows[0]["kl"]
    own = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32"} | facts(secured)
    own |= {"victim": "packaged", "distance": 0.0, "moved": 0.0}
    schema.write([own | row for row in rows], schema.UNQUANTISED, tmp_path / "unquantised.csv")
