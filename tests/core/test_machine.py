from types import SimpleNamespace

import pytest

from solid_utils.core import machine
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("sse2 avx2", "warning: this CPU has no units for bfloat16; `autocast: auto` (configs/models.yaml) takes"),
        ("avx2 avx512f", "warning: this CPU has no units for bfloat16"),
        ("avx512f avx512_bf16", ""),
        ("fp asimd bf16", ""),
    ],
)
def test_a_cpu_without_bfloat16_units_only_warns(flags, told, monkeypatch, capsys):
    monkeypatch.setattr(machine, "cpu_facts", lambda: {"model name": "Old CPU", "flags": flags})
    monkeypatch.setattr(accelerator, "device", lambda: accelerator.torch.device("cpu"))
    monkeypatch.setattr(accelerator.os, "cpu_count", lambda: 2)
    accelerator.check_cpu()
    said = capsys.readouterr().out
    assert said.startswith(told) and bool(said) == bool(told)


def test_a_disk_too_small_gets_one_line(tmp_path):
    machine.check_disk(1, tmp_path / "not" / "yet", "a file")
    with pytest.raises(StudyError, match="the replica needs .* GB, .* GB free; free some"):
        machine.check_disk(10**18, tmp_path, "the replica")


def test_what_equal_digits_depend_on():
    facts = machine.describe(2)
    assert {"cpu", "units", "threads", "torch", "transformers", "numpy"} <= set(facts) and facts["threads"] == "2"


def test_memory_is_handed_back_once_it_has_grown_and_always_between_phases(monkeypatch):
    resident, trims = [0.0], []
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=resident[0]))
    monkeypatch.setattr(accelerator.psutil, "Process", lambda: process)
    monkeypatch.setattr(accelerator.ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=trims.append))
    monkeypatch.setattr(accelerator, "_released", [5e9])

    def trimmed(size, grown=0.0):
        before, resident[0] = len(trims), size
        accelerator.release_memory(grown)
        return len(trims) > before

    assert trimmed(3e9)  # between phases, although there was more before
    assert not trimmed(3.5e9, grown=1e9) and trimmed(4.5e9, grown=1e9)
    assert not trimmed(2e9, grown=1e9) and trimmed(3.1e9, grown=1e9)  # growth counts from the least since


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("echo 'NVIDIA H200'; echo 'NVIDIA H200'", "NVIDIA H200"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", ""),
        ("true", ""),
    ],
)
def test_a_gpu_is_part_of_what_numbers_depend_on(script, name, tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    machine.gpu.cache_clear()
    assert machine.gpu() == name
    assert ("gpu" in machine.describe(2)) == bool(name)
    assert (machine.slug(machine.describe(2)) == "nvidia-h200") == bool(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine.gpu.cache_clear()
    assert machine.gpu() == "", "hidden from this process"
    machine.gpu.cache_clear()
