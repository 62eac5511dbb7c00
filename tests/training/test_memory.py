"""The estimate printed before a run: float32 master weights, gradients, AdamW's moments, activations."""

from types import SimpleNamespace

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator
from solid_utils.training import memory


@pytest.mark.parametrize(("dtype", "copies"), [(torch.float32, 0), (torch.bfloat16, 2)])
def test_what_training_needs_is_what_it_then_holds(dtype, copies, llama, capsys):
    llama.to(dtype)
    trainable = {name for name, _ in llama.named_parameters() if ".layers.0." in name}
    trained = [parameter for name, parameter in llama.named_parameters() if name in trainable]
    count = sum(parameter.numel() for parameter in trained)
    needed = memory.needs(llama, trainable, tokens=100, worked=0.5, parts=1)
    assert list(needed.values()) == [copies * count, 4 * count, 8 * count, 34 * 16 * 4 * 50]
    memory.check_fits(needed)
    assert (
        "moments 0.0, activations of one piece 0.0 GB\nmemory: training needs about 0.5 GB" in capsys.readouterr().out
    )

    for parameter in trained:
        parameter.data, parameter.grad = parameter.data.float(), None
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert needed["gradients"] == sum(parameter.grad.nbytes for parameter in trained)
    assert needed["moments"] == sum(tensor.nbytes for tensor in moments)


def test_shards_take_their_part(llama):
    names = {name for name, _ in llama.named_parameters()}
    one, four = (memory.needs(llama, names, 100, 1.0, parts) for parts in (1, 4))
    assert four["float32 weights"] == four["gradients"] and one["float32 weights"] == 0
    assert four["moments"] == one["moments"] // 4 and four["gradients"] == one["gradients"] // 4
    assert four["activations of one piece"] == one["activations of one piece"]


def test_little_memory_is_not_worth_a_line_unless_it_is_missing(capsys, monkeypatch):
    accelerator.check_memory(10_000, "a small map")
    accelerator.check_memory(200_000_000, "a model")
    assert capsys.readouterr().out.count("memory: ") == 1
    monkeypatch.setattr(accelerator.psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    with pytest.raises(StudyError, match="a small map needs about"):
        accelerator.check_memory(10_000, "a small map")
