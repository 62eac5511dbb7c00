"""What the study writes is what it reads back, to the bit, or one line."""

import json
import math
import random

import pytest
import safetensors.torch
import torch

from solid_utils.core.errors import StudyError
from solid_utils.model import tensors

KINDS = {
    "matrix": torch.arange(24.0).reshape(4, 6),
    "half": torch.linspace(-1, 1, 12).bfloat16(),
    "half too": torch.linspace(-1, 1, 12).half(),
    "scalar": torch.tensor(3.5),
    "none": torch.zeros(0, 3),
    "counts": torch.arange(5),
    "ä": torch.ones(1),
    "small": torch.ones(8).to(torch.float8_e4m3fn),
}


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors.save(KINDS, path)
    for read in (tensors.load(path), safetensors.torch.load_file(path)):
        assert set(read) == set(KINDS)
        for name, tensor in KINDS.items():
            assert read[name].dtype == tensor.dtype and read[name].shape == tensor.shape
            assert torch.equal(read[name].float(), tensor.float())


def test_the_same_tensors_are_the_same_bytes(tmp_path):
    for number in range(8):  # safetensors writes metadata in an order of chance
        given = KINDS if number % 2 else dict(reversed(KINDS.items()))
        tensors.save(given, tmp_path / f"{number}", {"format": "pt", "kind": "replica", "a": "b"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def flipped(whole: bytes, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_hundred_flipped_bits_are_a_hundred_refusals(tmp_path):
    path, chance = tmp_path / "x.safetensors", random.Random(0)
    tensors.save({f"layer.{number}": torch.randn(8, 8) for number in range(6)}, path)
    whole = path.read_bytes()
    data = 8 + int.from_bytes(whole[:8], "little")
    places = [range(8 * 8), *[range(8 * 8, 8 * data)] * 5, *[range(8 * data, 8 * len(whole))] * 4]
    for bit in [chance.choice(places[number % len(places)]) for number in range(100)]:
        path.write_bytes(flipped(whole, bit))
        with pytest.raises(StudyError, match="x.safetensors: .*; ") as caught:
            tensors.load(path)
        assert "\n" not in str(caught.value), bit
    path.write_bytes(whole)
    tensors.load(path)


def test_no_bit_of_the_names_of_the_digests_can_hide_them(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors.save({"one": torch.ones(2)}, path)
    whole = path.read_bytes()
    for word in (tensors.DIGESTS, tensors.SEAL, "__metadata__", "format"):
        start = whole.index(word.encode())
        for bit in range(8 * start, 8 * (start + len(word))):
            path.write_bytes(flipped(whole, bit))
            with pytest.raises(StudyError):
                tensors.load(path)


def test_a_stream_reads_and_checks_only_what_it_asks_for(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors.save({"one": torch.ones(2), "two": torch.ones(3)}, path)
    path.write_bytes(flipped(path.read_bytes(), 8 * path.stat().st_size - 1))
    stored = tensors.Stored(path)
    assert torch.equal(stored.get_tensor("one"), torch.ones(2))
    with pytest.raises(StudyError, match="two is not what was written"):
        stored.get_tensor("two")


def test_a_tensor_is_checked_once(tmp_path, monkeypatch):
    tensors.save({"one": torch.ones(2)}, tmp_path / "x")
    stored, counted = tensors.Stored(tmp_path / "x"), []
    digest = tensors.digest
    monkeypatch.setattr(tensors, "digest", lambda tensor: counted.append(1) or digest(tensor))
    for _ in range(3):
        stored.get_tensor("one")
    assert counted == [1] and stored.rows() == [f"one F32 (2,) {digest(torch.ones(2))}"] and counted == [1]


def test_files_of_others_have_no_digests_and_the_same_fingerprint(tmp_path):
    tensors.save(KINDS, tmp_path / "ours")
    safetensors.torch.save_file(KINDS, tmp_path / "theirs")
    ours, theirs = tensors.Stored(tmp_path / "ours"), tensors.Stored(tmp_path / "theirs")
    assert ours.digests and not theirs.digests
    assert tensors.fingerprint([ours]) == tensors.fingerprint([theirs])


def test_digests_of_other_tensors_are_refused(tmp_path):
    path = tmp_path / "x"
    metadata = {tensors.DIGESTS: json.dumps({"two": "0"}), tensors.SEAL: tensors.BLANK}
    safetensors.torch.save_file({"one": torch.ones(2)}, path, metadata=metadata)
    tensors.seal(path)
    with pytest.raises(StudyError, match="its digests are of other tensors"):
        tensors.load(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_seen_wherever_it_stands(dtype, value):
    for place in (0, 50, 1000):
        tensor = torch.ones(1001)
        assert tensors.finite(tensor.to(dtype))
        tensor[place] = value
        assert not tensors.finite(tensor.to(dtype))


def test_numbers_of_other_kinds_are_finite():
    assert tensors.finite(torch.arange(3)) and tensors.finite(torch.zeros(0)) and tensors.finite(torch.ones(2) > 0)
