"""The secure world as a process of its own: nothing secured reaches the client, and a killed one is replaced.

Processes are forked, which spares them the imports. So that a fork inherits nothing secured, the parent makes the
victim only after both are there.
"""

import multiprocessing
import os
import random
import re
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.runtime import counters, frames, manifest, serve, split
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.manifest import Limits, Policy
from solid_utils.runtime.serve import Server, listening
from tests.conftest import build, byte_llama
from tests.runtime.split_model import KEY, divided, pieces
from tests.runtime.worlds import served

FORKED = multiprocessing.get_context("fork")
SEED = 20261126  # of a victim that no other test makes
KILLS = 20 if "SOLID_FUZZ" in os.environ else 2
IDS = torch.arange(1, 9)[None]
HOW = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}


@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_leaves_no_second_thread_to_those_that_fork(turn):
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)  # as settings of two threads do in this process


def vendor(folder: Path, place: str) -> None:
    """Makes a model, splits it, and serves it by the command. No file holds the key."""
    byte_llama(SEED).save_pretrained(folder / "model")
    split.split(folder / "model", "layers 0", folder / "halves", KEY)
    served_by_command(folder, place)


def customer(folder: Path, place: str, pipe) -> None:
    """Generates, says what, and waits."""
    model = SemiOpenForCausalLM.from_pretrained(folder / "halves/open", socket=place)
    pipe.send(model.generate(IDS, **HOW)[0].tolist())
    pipe.recv()


def waited(path: Path, text: str) -> str:
    """What a file says once the text is in it."""
    for _ in range(600):
        if path.exists() and text in (said := path.read_text()):
            return said
        time.sleep(0.1)
    raise AssertionError(f"{path}: never said {text}")


def held(process: int, wanted: dict[str, bytes]) -> set[str]:
    """Names of what a process holds in memory that it can write."""
    found = set()
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", 0) as mem:
        for line in maps:
            start, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if "w" not in rights or "[v" in line:
                continue
            mem.seek(int(start, 16))
            try:
                data = mem.read(int(end, 16) - int(start, 16))
            except OSError:  # pages that are not there
                continue
            found |= {name for name, piece in wanted.items() if name not in found and piece in data}
    return found


def test_nothing_secured_is_in_the_clients_memory_and_a_killed_world_is_replaced(tmp_path):
    place, halves = str(tmp_path / "secure.sock"), tmp_path / "halves"
    mine, theirs = FORKED.Pipe()
    world = FORKED.Process(target=vendor, args=(tmp_path, place))
    client = FORKED.Process(target=customer, args=(tmp_path, place, theirs))
    world.start()
    try:
        waited(tmp_path / "out", "serving 1 segments")
        assert os.stat(place).st_mode & 0o777 == 0o600
        with pytest.raises(StudyError, match="is served already"):
            listening(place)
        client.start()
        told = mine.recv()
        victim = byte_llama(SEED)
        assert told == victim.generate(IDS, **HOW)[0].tolist()
        parameters, shown = dict(victim.named_parameters()), "model.layers.1.mlp.up_proj.weight"
        names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight", shown]
        assert held(client.pid, {name: pieces(parameters[name])[0] for name in names}) == {shown}
        mine.send("enough")
        client.join()
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place)
        before = model(input_ids=IDS).logits
        assert "session 1: closed after 15 tokens, 1 sequences" in waited(tmp_path / "log", "session 2: open")
        world.kill()
        world.join()
        with pytest.raises(StudyError, match=r"the secure world is gone .*secure\.open\(\)"):
            model(input_ids=IDS)
    finally:
        world.kill()
        if client.pid:
            client.kill()
    assert os.path.exists(place)  # stale: nobody serves it
    with served(halves, place=place):
        model.secure.open()
        assert torch.equal(model(input_ids=IDS).logits, before)
        model.secure.close()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY in data or KEY.hex().encode() in data for data in files)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def halves_of(folder: Path) -> None:
    """A vendor's process: both halves of a saved model."""
    split.split(folder / "model", "layers 0", folder / "halves", KEY)


def test_a_split_that_is_killed_leaves_both_halves_or_nothing(tmp_path):
    byte_llama(1).save_pretrained(tmp_path / "model")
    chance = random.Random(11)
    for _ in range(KILLS):
        vendor_at_work = FORKED.Process(target=halves_of, args=(tmp_path,))
        vendor_at_work.start()
        vendor_at_work.join(chance.uniform(0, 0.5))
        vendor_at_work.kill()
        vendor_at_work.join()
        if (tmp_path / "halves").exists():
            Server(tmp_path / "halves/open", tmp_path / "halves/sealed", KEY)  # opens all of it, or raises
            made = manifest.read(tmp_path / "halves/open")
            manifest.check_files(tmp_path / "halves/open", made)
    halves_of(tmp_path)  # and the next one clears up
    assert sorted(path.name for path in tmp_path.iterdir()) == ["halves", "model"]


def test_a_world_that_is_killed_has_booked_what_it_answered(tmp_path):
    byte_llama(1).save_pretrained(tmp_path / "model")
    policy = Policy(limits=Limits(tokens_day=10**6))
    split.split(tmp_path / "model", "layers 0", tmp_path / "halves", KEY, policy)
    place, chance, answered = str(tmp_path / "secure.sock"), random.Random(12), 0
    for _ in range(KILLS):
        world = FORKED.Process(target=served_by_command, args=(tmp_path, place))
        world.start()
        waited(tmp_path / "out", "serving")
        (tmp_path / "out").unlink()
        model = SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        threading.Timer(chance.uniform(0, 0.3), world.kill).start()
        with pytest.raises(StudyError, match="the secure world is gone"):
            while True:
                model(input_ids=torch.ones(8, 200).long())
                answered += 1600
        world.join()
        left = counters.read(tmp_path / "halves/sealed", KEY, manifest.sha256(tmp_path / "halves/open"))
        assert left.tokens >= answered
    assert answered


def served_by_command(folder: Path, place: str) -> None:
    """The command in a process of its own."""
    sys.stdout, sys.stderr = ((folder / name).open("w", buffering=1) for name in ("out", "log"))
    os.environ["SOLID_TEST_KEY"] = KEY.hex()
    halves = [str(folder / "halves" / name) for name in ("open", "sealed")]
    sys.argv = ["serve", *halves, place, "--key", "env:SOLID_TEST_KEY"]
    serve.command()


def test_no_frame_holds_a_secured_byte(tmp_path, monkeypatch):
    crossed, pack = [], frames.pack
    monkeypatch.setattr(frames, "pack", lambda *parts: crossed.append(pack(*parts)) or crossed[-1])
    divided(tmp_path, "llama", "layers 0 + layer 2 q + head")
    ids = torch.arange(1, 9)[None]
    with served(tmp_path / "halves") as (place, _, _):
        model = SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
        model.secure.close()
    assert len(crossed) > 20
    secret = {
        name: one for name, one in build("llama").named_parameters() if name not in dict(model.named_parameters())
    }
    assert len(secret) == 11
    assert not any(piece in frame for one in secret.values() for piece in pieces(one) for frame in crossed)


def test_an_abstract_socket_leaves_nothing_and_other_places_are_one_line(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    halves = tmp_path / "halves"
    with served(halves) as (place, _, _):
        assert place.startswith("@")
        with pytest.raises(StudyError, match="cannot be used"):
            listening(place)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StudyError, match="another file lies there"):
        listening(str(tmp_path / "file"))
    with pytest.raises(StudyError, match="longer than 107 bytes"):
        listening(str(tmp_path / ("x" * 120)))
    with pytest.raises(StudyError, match="missing"):
        Server(tmp_path, halves / "sealed", KEY)
