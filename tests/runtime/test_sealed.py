"""The sealed half opens with its key, beside its manifest, unchanged, or not at all: one line, before anything serves.

SOLID_FUZZ sets the number of random mutations (`make fuzz`: 10,000).
"""

import json
import os
import random

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from solid_utils.core.errors import StudyError
from solid_utils.runtime import counters, manifest, seal
from solid_utils.runtime.counters import Day, Ledger
from solid_utils.runtime.serve import Server
from tests.runtime.split_model import KEY, OTHER, divided

MUTATIONS = int(os.environ.get("SOLID_FUZZ", 200))


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed")
    divided(folder, "llama", "layer 1 q,o")
    return folder / "halves"


def opens(sealed, halves, key=KEY):
    """Open a sealed folder beside an open one."""
    return seal.unseal(sealed, manifest.read(halves / "open"), manifest.sha256(halves / "open"), key)


def tensors(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def changed(halves, folder, change):
    """A sealed folder with other tensors."""
    found, metadata = tensors(halves / "sealed" / seal.FILE)
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file(change(found), folder / seal.FILE, metadata)
    return folder


def refused(sealed, halves, key=KEY):
    with pytest.raises(StudyError) as caught:
        opens(sealed, halves, key)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


Q, O = (f"model.layers.1.self_attn.{letter}_proj.weight" for letter in "qo")  # noqa: E741


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: {Q: found[O], O: found[Q]}, "does not open"),  # both have one shape
        (lambda found: {Q: found[Q]}, "other tensors than the manifest"),
        (lambda found: found | {"more": found[Q].clone()}, "other tensors than the manifest"),
        (lambda found: {Q: found[Q], O + "x": found[O]}, "other tensors than the manifest"),
        (lambda found: {Q: found[Q], O: found[O][:-4]}, "another size"),
        (lambda found: {Q: found[Q], O: found[O].view(torch.int32)}, "no sealed tensor"),
        (lambda found: {Q: found[Q], O: found[O] ^ 1}, "does not open"),
        (lambda found: {Q: found[Q], O: torch.zeros(16, 16)}, "no sealed tensor"),
        (lambda found: {Q: torch.cat([found[Q][:12], found[O][12:]]), O: found[O]}, "does not open"),
    ],
)
def test_a_changed_file_is_refused(halves, tmp_path, change, said):
    assert said in refused(changed(halves, tmp_path / "sealed", change), halves)
    assert opens(changed(halves, tmp_path / "sealed", dict), halves)  # the same tensors written again open


def test_another_key_or_manifest_is_refused(halves, tmp_path):
    assert "does not open" in refused(halves / "sealed", halves, OTHER)
    made = json.loads((halves / "open/manifest.json").read_text())
    for change in (
        {"policy": made["policy"] | {"gradients": True}},  # the customer would like that
        {"secured": made["secured"][::-1]},
        {"secured": [made["secured"][0], made["secured"][1] | {"shape": [8, 32]}]},
        {"secured": [made["secured"][0], made["secured"][1] | {"dtype": "bfloat16", "shape": [16, 32]}]},
        {"declaration": "layer 1 o,q"},
    ):
        (tmp_path / "open").mkdir(exist_ok=True)
        (tmp_path / "open/manifest.json").write_text(json.dumps(made | change))
        assert "does not open" in refused(halves / "sealed", tmp_path)


def test_a_server_refuses_before_it_serves(halves, tmp_path):
    with pytest.raises(StudyError, match="does not open"):
        Server(halves / "open", halves / "sealed", OTHER)
    (tmp_path / "open").mkdir()
    for name in ("manifest.json", "config.json"):
        (tmp_path / "open" / name).write_bytes((halves / "open" / name).read_bytes())
    (tmp_path / "open/config.json").write_text((halves / "open/config.json").read_text().replace("silu", "relu"))
    with pytest.raises(StudyError, match="config.json: is not what was split"):
        Server(tmp_path / "open", halves / "sealed", KEY)


def test_random_mutations_of_the_sealed_file_are_all_refused(halves, tmp_path):
    good, chance = (halves / "sealed" / seal.FILE).read_bytes(), random.Random(7)
    path = tmp_path / seal.FILE
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(good, chance))
        refused(tmp_path, halves)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Something else than `data`: bits flipped, bytes replaced, moved, cut, repeated or put in between."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        start = chance.randrange(max(1, len(found)) if chance.random() < 0.5 else min(len(found), 300))
        end = min(len(found), start + chance.choice((1, 1, 2, 8, 64)))
        kind = chance.randrange(6)
        if kind == 0:
            found[start] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[start:end] = chance.randbytes(end - start)
        elif kind == 2:
            del found[start:end]
        elif kind == 3:
            found[start:start] = chance.randbytes(end - start)
        elif kind == 4:
            del found[start:]
        else:
            found[start:start] = found[start:end]
        if not found:
            break
    return bytes(found) if bytes(found) != data else data[:-1]


# Counters -------------------------------------------------------------------------------------------------------------


def test_counters_are_written_ahead_and_a_restart_goes_on_from_there(tmp_path, monkeypatch):
    binding, most = bytes(32), (320, 10)
    counters.begin(tmp_path, KEY, binding)
    monkeypatch.setattr(counters, "today", lambda: "2030-01-01")
    ledger = Ledger(tmp_path, KEY, binding)
    ledger.spend(5, 1, most)
    assert counters.read(tmp_path, KEY, binding) == Day("2030-01-01", 20, 1)  # a sixteenth of 320
    ledger.spend(100, 1, most)
    again = Ledger(tmp_path, KEY, binding)  # as after kill -9
    assert again.used.tokens == 120 >= 105
    with pytest.raises(StudyError, match="limit: 320 tokens a day"):
        again.spend(201, 1, most)
    again.spend(200, 1, most)
    with pytest.raises(StudyError, match="limit: 320 tokens a day"):
        Ledger(tmp_path, KEY, binding).spend(1, 0, most)
    monkeypatch.setattr(counters, "today", lambda: "2029-12-31")  # a clock set back
    with pytest.raises(StudyError, match="limit: 320 tokens a day"):
        Ledger(tmp_path, KEY, binding).spend(1, 0, most)
    monkeypatch.setattr(counters, "today", lambda: "2030-01-02")
    Ledger(tmp_path, KEY, binding).spend(300, 10, most)


def test_counters_that_were_changed_or_taken_away_are_refused(tmp_path):
    binding, path = bytes(32), tmp_path / counters.FILE
    counters.write(Day("2030-01-01", 300, 3), tmp_path, KEY, binding)
    good = path.read_text()
    for bad in (good.replace("300", "3"), good.replace('"mac": "', '"mac": "0'), "{}", '{"day": 3, "mac": 4}', ""):
        path.write_text(bad)
        with pytest.raises(StudyError, match="counters"):
            counters.read(tmp_path, KEY, binding)
    path.write_text(good)
    with pytest.raises(StudyError, match="another key or manifest"):
        counters.read(tmp_path, KEY, bytes(31) + b"1")
    path.unlink()
    with pytest.raises(StudyError, match="missing"):
        counters.read(tmp_path, KEY, binding)
