"""The secure world as a process of its own: nothing secured reaches the client, and a killed one is replaced."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.runtime import frames
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.serve import Server, listening
from tests.conftest import build
from tests.runtime.split_model import KEY, divided, pieces
from tests.runtime.worlds import served

CLIENT = """
import sys, torch
from solid_utils.runtime.client import SemiOpenForCausalLM
torch.set_num_threads(1)
model = SemiOpenForCausalLM.from_pretrained(sys.argv[1], socket=sys.argv[2])
ids = torch.arange(1, 9)[None]
print(model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("process")
    divided(folder, "llama", "bottom 2")
    return folder / "halves"


def started(halves, place):
    """A secure world's process, serving. Its key comes from the environment, so that no file holds it."""
    command = [sys.executable, "-m", "solid_utils.runtime.serve", halves / "open", halves / "sealed", place]
    env = os.environ | {"SOLID_TEST_KEY": KEY.hex()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    world = subprocess.Popen([*command, "--key", "env:SOLID_TEST_KEY"], env=env, **pipes)
    assert world.stdout.readline().startswith("serving 1 segments"), world.communicate()
    return world


def memory(process: int) -> bytes:
    """All that a process holds in memory that it can write."""
    found = []
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", 0) as mem:
        for line in maps:
            start, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if "w" in rights and "[v" not in line:
                mem.seek(int(start, 16))
                try:
                    found.append(mem.read(int(end, 16) - int(start, 16)))
                except OSError:  # pages that are not there
                    continue
    return b"".join(found)


def test_nothing_secured_is_in_the_clients_memory_and_a_killed_world_is_replaced(halves, tmp_path):
    place = str(tmp_path / "secure.sock")
    world = started(halves, place)
    try:
        assert os.stat(place).st_mode & 0o777 == 0o600
        with pytest.raises(StudyError, match="is served already"):
            listening(place)
        start = [sys.executable, "-c", CLIENT, halves / "open", place]
        customer = subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ids, victim = torch.arange(1, 9)[None], build("llama")
        told = victim.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist()
        assert customer.stdout.readline().strip() == str(told)
        held, parameters = memory(customer.pid), dict(victim.named_parameters())
        secret = {name for name in parameters if name.startswith(("model.layers.0.", "model.layers.1."))}
        for name in [*sorted(secret)[2::3], "model.embed_tokens.weight", "model.layers.3.mlp.up_proj.weight"]:
            assert (pieces(parameters[name])[0] in held) == (name not in secret), name
        customer.communicate()
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place)
        before = model(input_ids=ids).logits
        world.send_signal(signal.SIGKILL)
        said = world.communicate()[1]
        assert "session 1: open" in said and "session 1: closed after 15 tokens, 1 sequences" in said
        with pytest.raises(StudyError, match=r"the secure world is gone .*secure\.open\(\)"):
            model(input_ids=ids)
    finally:
        world.kill()
    assert os.path.exists(place)  # stale: nobody serves it
    with served(halves, place=place):
        model.secure.open()
        assert torch.equal(model(input_ids=ids).logits, before)
        model.secure.close()
    files = [path.read_bytes() for path in [*halves.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert not any(KEY in data or KEY.hex().encode() in data for data in files)
    assert not [path for path in halves.rglob("*") if "partial" in path.name]


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


def test_an_abstract_socket_leaves_nothing_and_other_places_are_one_line(halves, tmp_path):
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
