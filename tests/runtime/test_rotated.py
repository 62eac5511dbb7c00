"""A rotated product: the base's thief has nothing until he has found the rotation, the linear map feels nothing."""

import torch

from solid_utils.core import schema
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.runtime import rotated
from tests.conftest import byte_llama
from tests.runtime.test_adaptive import HELD_OUT, SAMPLES


def test_every_attack_on_both_exports(tokenizer, tmp_path):
    base, product = byte_llama(5), byte_llama(5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in product.parameters():
            parameter.add_(0.02 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    secured = secured_set(product, "layers 0")
    rows = rotated.measured(product, base, secured, tokenizer, SAMPLES[:24], HELD_OUT)
    found = {(row["exported"], row["attack"]): row for row in rows}
    assert len(found) == len(rows) == 8
    for export in rotated.EXPORTS:
        assert found[export, "none"]["agreement"] == 1 and found[export, "none"]["kl"] < 1e-6
        assert found[export, "linear map"]["queries"] == 24 and found[export, rotated.FOUND]["queries"] == 0
    copied, turned = ([found[export, attack]["kl"] for export in rotated.EXPORTS] for attack in
                      (rotated.COPIED, rotated.FOUND))  # fmt: skip
    assert copied[1] > 10 * copied[0] and turned[1] < 2 * copied[0]
    maps = [found[export, "linear map"] for export in rotated.EXPORTS]
    assert abs(maps[0]["kl"] - maps[1]["kl"]) < 1e-3 * maps[0]["kl"]
    identity = {"model": "m", "revision": "r", "tier": "tiny", "dtype": "float32"} | facts(secured)
    schema.write([identity | row for row in rows], schema.ROTATION, tmp_path / "rotation.csv")
