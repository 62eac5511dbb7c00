"""A frame is answered or refused in one line, whatever it is; its session goes on, and so do the others."""

import os
import random
import socket

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.runtime import frames
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.frames import FrameError, Kind
from solid_utils.runtime.manifest import Limits, Policy
from solid_utils.runtime.serve import Server
from solid_utils.runtime.session import Session
from solid_utils.runtime.tally import Rate, Tally
from tests.runtime.split_model import KEY, divided
from tests.runtime.test_sealed import mutated
from tests.runtime.worlds import served

MUTATIONS = int(os.environ.get("SOLID_FUZZ", 200))


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    limits = Limits(frame_bytes=20000, row_tokens=64, rows=8)
    divided(folder, "llama", "layers 1-2 + layer 0 q", Policy(limits=limits, gradients=True))
    return folder / "halves"


@pytest.fixture(scope="module")
def server(halves):
    return Server(halves / "open", halves / "sealed", KEY, lambda _: None)


def session(server):
    return Session(server.world, Tally(server.world.policy.limits, server.ledger, server.rate))


def state(rows=2, tokens=5):
    return torch.randn(rows, tokens, 16, generator=torch.Generator().manual_seed(8))


def asks() -> list[tuple[Kind, dict]]:
    """A good frame of each kind."""
    run = {"numbers": torch.tensor([0, 0, 1]), "state": state(), "mask": torch.ones(2, 5).bool()}
    pull = {"numbers": torch.tensor([0, 0, 0]), "state": state(), "gradient": state()}
    lone = {"numbers": torch.tensor([0]), "in0": state()}
    return [(Kind.RUN, run), (Kind.PULL, pull), (Kind.MODULE, lone), (Kind.COUNTS, {})]


def packed(one: Session, kind: Kind, tensors: dict, number: int | None = None) -> bytes:
    return frames.pack(kind, one.token, one.number + 1 if number is None else number, tensors)


def answered(one: Session, frame: bytes, longest: int = 20000) -> dict:
    """As a server reads and answers it, without a socket."""
    head = frames.header(frame[: frames.HEADER.size], longest)
    return one.answer(head, frame[frames.HEADER.size :][: head.length])


def test_good_frames_are_answered(server):
    one = session(server)
    for kind, tensors in asks():
        assert answered(one, packed(one, kind, tensors))
    assert one.tally.tokens == 10 and one.tally.sequences == 2 and one.tally.gradients == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"numbers": torch.tensor([1, 0, 0])}, "no such door"),
        ({"numbers": torch.tensor([-1, 0, 0])}, "no such door"),
        ({"numbers": torch.tensor([0, 0])}, "other numbers"),
        ({"numbers": torch.tensor([0, 3, 0])}, "past tokens without keys"),
        ({"numbers": torch.tensor([0, 3, 1]), "mask": torch.ones(2, 8).bool()}, "without their marks"),
        (
            {"numbers": torch.tensor([0, 3, 1]), "mask": torch.ones(2, 8).bool(), "rows": torch.tensor([7, 8])},
            "not held",
        ),
        ({"state": state(9, 5)}, "rows of 64 tokens"),
        ({"state": state(1, 65)}, "rows of 64 tokens"),
        ({"state": state()[..., :15]}, "another shape"),
        ({"state": state().double().bfloat16()}, "no tensor of finite"),
        ({"state": state() / 0}, "no tensor of finite"),
        ({"mask": torch.ones(2, 6).bool()}, "no mask"),
        ({"mask": torch.ones(2, 5).long()}, "no mask"),
        ({"asked": torch.ones(1, 5).bool()}, "no mask"),
        ({"positions": torch.full((2, 5), 64 + 1)}, "from 0 to 64"),
        ({"positions": torch.zeros(3, 5).long()}, "positions of another shape"),
    ],
)
def test_what_does_not_fit_is_refused(server, change, said):
    one = session(server)
    kind, good = asks()[0]
    with pytest.raises(StudyError, match=said):
        answered(one, packed(one, kind, good | change))
    assert one.tally.tokens == 0
    assert answered(one, packed(one, kind, good))  # the session goes on


def test_a_frame_that_comes_twice_or_from_another_session_is_refused(server):
    one, other = session(server), session(server)
    kind, good = asks()[0]
    frame = packed(one, kind, good)
    answered(one, frame)
    for who, what in ((one, frame), (other, frame), (one, packed(one, kind, good, number=9))):
        with pytest.raises(FrameError, match="another session, or it came before"):
            answered(who, what)
    assert one.tally.sequences == 2 and other.tally.sequences == 0


def test_an_oversized_frame_is_refused_before_it_is_read(server):
    one = session(server)
    with pytest.raises(FrameError, match="are allowed") as caught:
        answered(one, packed(one, Kind.RUN, asks()[0][1] | {"more": torch.zeros(20000)}))
    assert caught.value.lost


def test_rates_and_sessions_have_limits(server):
    clock = [0.0]
    tally = Tally(Limits(tokens_session=100, sequences_session=3), server.ledger, Rate(4, lambda: clock[0]))
    tally.spend(0, 30, 2, 30)
    with pytest.raises(StudyError, match="4 tokens a second"):
        tally.spend(0, 11, 1, 11)
    clock[0] = 5.0
    tally.spend(1, 11, 1, 11)  # another door of the same text: nothing new was asked
    assert (tally.tokens, tally.sequences) == (30, 2)
    clock[0] = 99.0
    with pytest.raises(StudyError, match="3 sequences a session"):
        tally.spend(0, 5, 2, 5)
    with pytest.raises(StudyError, match="100 tokens a session"):
        tally.spend(0, 71, 0, 5)


def test_random_mutations_of_frames_end_in_an_answer_or_one_line(server):
    chance, one = random.Random(9), session(server)
    refusals = 0
    for number in range(MUTATIONS):
        kind, good = asks()[number % 4]
        try:
            answered(one, mutated(packed(one, kind, good), chance))
        except StudyError as error:
            refusals += 1
            assert "\n" not in str(error)
        except (IndexError, struct_error):
            refusals += 1  # shorter than a header: a socket would wait for the rest
        except RuntimeError as error:  # what a server answers for any other: `answered` of serve.py
            raise AssertionError(f"frame {number}: {error}") from error
    assert refusals > 0.8 * MUTATIONS  # the rest changed a number of a state, which is another question
    fresh = session(server)
    assert all(answered(fresh, packed(fresh, *ask)) for ask in asks())


struct_error = frames.struct.error


def test_a_live_server_refuses_and_serves_on(halves):
    """Twenty mutations of a frame, each over a socket of its own, as a client's first frame or a later one."""
    chance = random.Random(10)
    with served(halves) as (place, server, lines):
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place)
        ids = torch.arange(1, 9)[None]
        before = model(input_ids=ids).logits
        hello = {"binding": torch.frombuffer(bytearray(server.world.binding), dtype=torch.uint8)}
        for number in range(20):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect("\0" + place[1:])
                raw.settimeout(5)
                good = frames.pack(Kind.HELLO, frames.NO_SESSION, 0, hello)
                if number % 2:
                    raw.sendall(good)
                    token = frames.receive(raw, 4096)[0].session
                    good = frames.pack(Kind.RUN, token, 1, asks()[0][1])
                raw.sendall(mutated(good, chance))
                raw.shutdown(socket.SHUT_WR)
                if (reply := frames.receive(raw, 2**20)) is not None and reply[0].kind == Kind.ERROR:
                    assert "\n" not in frames.line_of(frames.tensors_of(reply[1]))
        assert torch.equal(model(input_ids=ids).logits, before)
        model.secure.close()
    assert any("refused" in line for line in lines)
    assert not any("\n" in line or "Traceback" in line for line in lines)
