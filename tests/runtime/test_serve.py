"""Answers come in order, and a client that does not read them holds nobody up."""

import socket
import threading
import time

import torch

from solid_utils.runtime import frames, manifest
from solid_utils.runtime.frames import Kind
from solid_utils.runtime.link import Link
from solid_utils.runtime.serve import Reply, address_of
from tests.runtime.split_model import divided
from tests.runtime.worlds import served

RUN = {"numbers": torch.tensor([0, 0, 0]), "state": torch.ones(1, 8, 16)}


def test_an_answer_that_is_not_read_is_sent_as_it_is_and_nobody_waits():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    big = {"state": torch.arange(1_000_000, dtype=torch.int64)}  # 8 MB, more than any socket's buffer
    turn = threading.Lock()
    turn.acquire()
    Reply(ours, bytes(8), 5, turn).send(Kind.DONE, big)  # returns: nobody reads yet
    assert turn.locked()
    header, data = frames.receive(theirs, 10_000_000)
    assert header.number == 5 and torch.equal(frames.tensors_of(data)["state"], big["state"])
    assert turn.acquire(timeout=10)  # its turn has ended
    theirs.close()
    Reply(ours, bytes(8), 6, turn).send(Kind.DONE, big)  # a client that has gone
    assert turn.acquire(timeout=10)


def test_frames_that_are_sent_without_waiting_are_answered_in_order(tmp_path):
    """One text needs what the one before has left; a refusal comes no sooner than the answer before it."""
    divided(tmp_path, "llama", "layers 0")
    halves = tmp_path / "halves"
    with served(halves) as (place, _, lines), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address_of(place))
        binding = {"binding": torch.frombuffer(bytearray(manifest.sha256(halves / "open")), dtype=torch.uint8)}
        connection.sendall(frames.pack(Kind.HELLO, frames.NO_SESSION, 0, binding))
        hello, _ = frames.receive(connection, 10_000)
        kinds = [Kind.RUN, Kind.HEAD, Kind.RUN, Kind.COUNTS, Kind.RUN]  # no head is secured: refused
        asked = [frames.pack(kind, hello.session, number, RUN) for number, kind in enumerate(kinds, 1)]
        connection.sendall(b"".join(asked))
        answers = [frames.receive(connection, 10_000) for _ in kinds]
    assert [header.number for header, _ in answers] == [1, 2, 3, 4, 5]
    assert [header.kind for header, _ in answers] == [Kind.DONE, Kind.ERROR, Kind.DONE, Kind.DONE, Kind.DONE]
    states = [frames.tensors_of(answers[place][1])["state"] for place in (0, 2, 4)]
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])
    assert frames.tensors_of(answers[3][1])["counts"].tolist() == [16, 2, 0]
    assert sum("refused" in line for line in lines) == 1


def test_a_client_that_does_not_read_holds_up_no_other(tmp_path):
    """It asks, and never takes its answers."""
    divided(tmp_path, "llama", "layers 0")
    halves = tmp_path / "halves"
    with served(halves) as (place, server, _), socket.socket(socket.AF_UNIX) as silent:
        silent.connect(address_of(place))
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        binding = manifest.sha256(halves / "open")
        given = {"binding": torch.frombuffer(bytearray(binding), dtype=torch.uint8)}
        silent.sendall(frames.pack(Kind.HELLO, frames.NO_SESSION, 0, given))
        hello, _ = frames.receive(silent, 10_000)
        silent.setblocking(False)
        number, waits = 0, False
        while not waits:  # until neither its answers nor its questions fit anywhere
            number += 1
            try:
                silent.sendall(frames.pack(Kind.RUN, hello.session, number, RUN))
            except BlockingIOError:
                waits = True
        other = Link(place, binding)
        assert other.ask(Kind.RUN, RUN)["state"].shape == (1, 8, 16)
        other.close()
        silent.close()
        for _ in range(200):
            if server.sessions:
                time.sleep(0.05)
        assert server.sessions == 0
