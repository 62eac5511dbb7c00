"""Steps of several sessions in one batch say what each says alone, up to rounding; a step alone, to the last bit."""

import threading
import time

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.runtime import together
from solid_utils.runtime.frames import Kind
from solid_utils.runtime.inside import Asked
from solid_utils.runtime.manifest import Boundary, Limits, Policy
from solid_utils.runtime.serve import Server
from solid_utils.runtime.session import Session
from solid_utils.runtime.tally import Tally
from solid_utils.runtime.together import Logits
from tests.conftest import VOCABULARY, build
from tests.runtime.split_model import KEY, divided
from tests.runtime.test_frames import answered, packed, session

LENGTHS = (3, 7, 5)  # tokens of the texts that begin; the last one has a padded row


def opened(tmp_path, architecture, policy=None, declaration="layers 1-2", **options):
    divided(tmp_path, architecture, declaration, policy)
    return Server(tmp_path / "halves/open", tmp_path / "halves/sealed", KEY, lambda _: None, **options)


def entering(seed: int, tokens: int, ids: bool) -> dict:
    """What enters a segment, two rows: states, or token ids."""
    stream = torch.Generator().manual_seed(seed)
    if ids:
        return {"ids": torch.randint(1, VOCABULARY, (2, tokens), generator=stream)}
    return {"state": torch.randn(2, tokens, 16, generator=stream)}


def begin(number: int, length: int, ids: bool = False) -> dict:
    """A text's first frame; two rows, of which the third text's first is padded on the left."""
    frame = {"numbers": torch.tensor([0, 0, 1])} | entering(number, length, ids)
    if number == 2:
        frame["mask"] = torch.ones(2, length).bool()
        frame["mask"][0, :2] = False
        frame["positions"] = (frame["mask"].cumsum(1) - 1).clamp_min(0)
    return frame


def step(number: int, length: int, rows: torch.Tensor, ids: bool = False) -> dict:
    """The frame of the text's next token."""
    frame = {"numbers": torch.tensor([0, length, 1]), "rows": rows} | entering(90 + number + length, 1, ids)
    if number == 2:
        frame["mask"] = torch.ones(2, length + 1).bool()
        frame["mask"][0, :2] = False
        frame["positions"] = frame["mask"].sum(1, keepdim=True) - 1
    return frame


def asked(one: Session, frame: dict) -> dict:
    return answered(one, packed(one, Kind.RUN, frame))


def two_steps(server: Server, at_once: bool) -> list[list[torch.Tensor]]:
    """What leaves at two steps of three sessions, that wait for the machine at the same time or come one by one."""
    sessions = [session(server) for _ in LENGTHS]
    rows = [asked(one, begin(number, LENGTHS[number]))["rows"] for number, one in enumerate(sessions)]
    found = [[], [], []]

    def ask(number: int, more: int) -> None:
        answer = asked(sessions[number], step(number, LENGTHS[number] + more, rows[number]))
        rows[number] = answer["rows"]
        found[number].append(answer["state"])

    for more in range(2):
        threads = [threading.Thread(target=ask, args=(number, more)) for number in range(3)]
        if not at_once:
            for number in range(3):
                ask(number, more)
            continue
        with server.world.machine.lock:
            for number, thread in enumerate(threads):
                thread.start()
                while len(server.world.machine.waiting) <= number and thread.is_alive():
                    time.sleep(0.001)
        for thread in threads:
            thread.join(20)
    return found


@pytest.mark.parametrize(
    ("architecture", "batches"), [("llama", 1), ("gpt2", 1), ("opt", 1), ("neox", 1), ("gemma2", 3)]
)
def test_steps_that_wait_together_go_in_one_batch_and_say_the_same(tmp_path, architecture, batches):
    """Of sliding windows, keys that have left them are missing: there each session goes alone."""
    server = opened(tmp_path, architecture)
    machine = server.world.machine
    alone = two_steps(server, at_once=False)
    before = machine.forwards
    together = two_steps(server, at_once=True)
    assert machine.forwards - before == 3 + 2 * batches
    for mine, theirs in zip(together, alone, strict=True):
        assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-5) for pair in zip(mine, theirs, strict=True))
    again = two_steps(server, at_once=False)
    assert all(
        torch.equal(*pair) for one, other in zip(again, alone, strict=True) for pair in zip(one, other, strict=True)
    )


def test_a_batch_has_a_most_and_noise_keeps_each_alone(tmp_path):
    """Noise is drawn by every bit of a state; company would change the last one."""
    folders = [tmp_path / name for name in ("rows", "noise")]
    for folder in folders:
        folder.mkdir()
    servers = [
        opened(folders[0], "llama", rows=4),  # of three sessions with two rows each
        opened(folders[1], "llama", Policy(boundary=Boundary(noise=0.1))),
    ]
    for server, batches in zip(servers, (2, 3), strict=True):
        two_steps(server, at_once=True)
        assert server.world.machine.forwards == 3 + 2 * batches


def test_what_fails_in_company_is_tried_alone(tmp_path, monkeypatch):
    server = opened(tmp_path, "llama")
    alone, run = two_steps(server, at_once=False), server.world.inside.run

    def fails(given):
        if len(given.ids) > 2:
            raise RuntimeError
        return run(given)

    monkeypatch.setattr(server.world.inside, "run", fails)
    together = two_steps(server, at_once=True)
    assert all(
        torch.equal(*pair) for one, other in zip(together, alone, strict=True) for pair in zip(one, other, strict=True)
    )


def test_a_step_that_came_too_fast_can_be_asked_again(tmp_path):
    """A limit once took a text's keys and values with it."""
    server = opened(tmp_path, "llama", Policy(limits=Limits(tokens_second=1)))
    clock = [0.0]
    server.rate.clock, server.rate.seen = lambda: clock[0], 0.0
    one = Session(server.world, Tally(server.world.policy.limits, server.ledger, server.rate))
    rows = asked(one, begin(0, 5))["rows"]
    with pytest.raises(StudyError, match="1 tokens a second"):
        asked(one, step(0, 5, rows))
    clock[0] = 9.0
    assert asked(one, step(0, 5, rows))["state"].shape == (2, 1, 16)


def heads_of(server: Server, at_once: bool) -> list[torch.Tensor]:
    """Logits that three sessions ask of states of a decode step, at the same time or one by one; (2, vocabulary) each.

    The steps before them are the same: each session's alone.
    """
    sessions = [session(server) for _ in LENGTHS]
    ids, calls = server.world.inside.doors.segments[0].from_ids, []
    for number, one in enumerate(sessions):
        rows = asked(one, begin(number, LENGTHS[number], ids))["rows"]
        calls.append(asked(one, step(number, LENGTHS[number], rows, ids))["call"])
    found = [None, None, None]

    def ask(number: int) -> None:
        frame = {"numbers": calls[number], "places": torch.arange(2)}
        found[number] = answered(sessions[number], packed(sessions[number], Kind.HEAD, frame))["logits"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    if not at_once:
        for number in range(3):
            ask(number)
        return found
    with server.world.machine.lock:
        for number, thread in enumerate(threads):
            thread.start()
            while len(server.world.machine.waiting) <= number and thread.is_alive():
                time.sleep(0.001)
    for thread in threads:
        thread.join(20)
    return found


@pytest.mark.parametrize(
    ("architecture", "declaration"), [("llama", "top 2 + rest after layers"), ("llama-tied", "all"), ("gpt2", "all")]
)
def test_heads_that_are_asked_together_are_one_product(tmp_path, architecture, declaration):
    """Alone each is the model's own head to the last bit; together they are that head of all their rows."""
    server = opened(tmp_path, architecture, declaration=declaration)
    machine, states = server.world.machine, []
    server.world.inside.head.register_forward_pre_hook(lambda _module, given: states.append(given[0]))
    alone = heads_of(server, at_once=False)
    assert [len(one) for one in states] == [2, 2, 2]
    head = build(architecture).requires_grad_(False).get_output_embeddings()
    assert all(torch.equal(one, head(state)) for one, state in zip(alone, states, strict=True))
    before = machine.forwards
    together = heads_of(server, at_once=True)
    assert machine.forwards - before == 6 + 1
    assert torch.equal(states[-1], torch.cat(states[:3]))
    assert torch.equal(torch.cat(together), head(states[-1]))


def test_a_text_that_goes_on_is_waited_for_where_it_comes_next(tmp_path, monkeypatch):
    """After states that stay inside that is the head, after logits the layers: nobody waits there for the other."""
    monkeypatch.setattr(together, "QUICK", 60)  # however slow this machine is
    server = opened(tmp_path, "llama", declaration="top 2 + rest after layers")
    machine, one, due = server.world.machine, session(server), []
    rows = asked(one, begin(0, 5))["rows"]
    for more in range(2):
        answer = asked(one, step(0, 5 + more, rows))
        due.append(machine.due.get(id(one), [None])[0])
        rows, frame = answer["rows"], {"numbers": answer["call"], "places": torch.arange(2)}
        answered(one, packed(one, Kind.HEAD, frame))
        due.append(machine.due.get(id(one), [None])[0])
    assert due == [None, Asked, Logits, Asked]
    machine.due = {7: (Logits, time.monotonic() + 30)}
    assert machine.patience(Logits) > 20 and machine.patience(Asked) == 0


def test_a_batch_goes_as_soon_as_the_last_session_that_is_due_has_come(tmp_path):
    """Two are waited for half a minute: the first one's step stands until the second's is there, and no longer."""
    server = opened(tmp_path, "llama")
    machine, sessions = server.world.machine, [session(server) for _ in range(2)]
    rows = [asked(one, begin(0, 5))["rows"] for one in sessions]
    before, until = machine.forwards, time.monotonic() + 30
    machine.due = {id(one): (Asked, until) for one in sessions}
    threads = [
        threading.Thread(target=asked, args=(one, step(0, 5, own))) for one, own in zip(sessions, rows, strict=True)
    ]
    threads[0].start()
    threads[0].join(0.3)
    assert machine.forwards == before
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() < until and machine.forwards == before + 1
