"""The secure world: a process that holds the secured tensors and answers through a Unix socket.

python -m solid_utils.runtime.serve OPEN SEALED SOCKET --key file:KEY

A stand-in for an enclave: what it protects from and what not, docs/deployment.md. It opens the sealed tensors in memory
only, refuses before it serves, and says what it does without saying what was asked.
"""

import argparse
import ctypes
import os
import resource
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from solid_utils.core import errors, lock
from solid_utils.core.errors import StudyError
from solid_utils.runtime import counters, frames, keys, manifest, seal
from solid_utils.runtime.boundary import Guard
from solid_utils.runtime.counters import Ledger
from solid_utils.runtime.frames import FrameError, Kind
from solid_utils.runtime.inside import Inside
from solid_utils.runtime.session import Later, Session, World
from solid_utils.runtime.tally import Rate, Tally
from solid_utils.runtime.together import ROWS, Step

LONGEST_PATH = 107  # bytes of a socket's path on Linux
DUMPABLE = 4  # of prctl(2): without it no other process of this user reads this one's memory
PARENTS_DEATH = 1  # of prctl(2): the signal that comes when the process that started this one ends
HELLO_BYTES, SECONDS = 4096, 10  # of a client's first frame, and until it is there


def address_of(place: str) -> str:
    """A socket's address: a path, or @NAME for an abstract one, which leaves no file. Raises StudyError if too long."""
    if len(os.fsencode(place)) > LONGEST_PATH:
        raise StudyError(f"socket {place}: longer than {LONGEST_PATH} bytes; name a shorter path, or @NAME")
    return f"\0{place[1:]}" if place.startswith("@") else place


def listening(place: str) -> socket.socket:
    """A socket that listens; a stale path, which a killed process left, is replaced.

    Raises StudyError where somebody answers there, or something else lies there.
    """
    address, server = address_of(place), socket.socket(socket.AF_UNIX)
    if not place.startswith("@"):
        clear_stale(place, address)
    try:
        before = os.umask(0o177)  # for its owner only
        try:
            server.bind(address)
        finally:
            os.umask(before)
        server.listen()
    except OSError as error:
        raise StudyError(f"socket {place}: cannot be used ({error.strerror}); name another one") from None
    return server


def clear_stale(place: str, address: str) -> None:
    """Remove a socket that nobody serves."""
    path = Path(place)
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise StudyError(f"socket {place}: another file lies there; name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise StudyError(f"socket {place}: cannot be asked ({error.strerror}); name another path") from None
    raise StudyError(f"socket {place}: is served already; end that process, or name another path")


class Server:
    """Opens the sealed half, or refuses; then answers clients, a thread each."""

    def __init__(self, folder: Path, sealed: Path, key: bytes, said: Callable[[str], None] = print, rows: int = ROWS):
        """`rows`: of decode steps that go through the layers together, at most; 1: each session's alone."""
        self.said = said
        made, binding = manifest.read(folder), manifest.sha256(folder)
        manifest.check_files(folder, made, only=("config.json",))
        lock.take(sealed)  # two processes would both spend the day's budget
        counters.clear(sealed)
        secret = seal.unseal(sealed, made, binding, key)
        guard = Guard(made.policy.boundary, key, binding)
        self.world = World(Inside(folder, made, secret), made.policy, guard, binding, rows)
        self.ledger = Ledger(sealed, key, binding)
        self.rate = Rate(made.policy.limits.tokens_second)
        self.sessions, self.begun, self.door = 0, 0, threading.Lock()

    def serve(self, server: socket.socket) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self.connected, args=(connection,), daemon=True).start()

    def connected(self, connection: socket.socket) -> None:
        """One client, to the end of its connection."""
        with connection, suppress(OSError):  # a client that goes, or says nothing, is no error of ours
            connection.settimeout(SECONDS)
            try:
                first = frames.receive(connection, HELLO_BYTES)
            except FrameError as error:
                self.said(f"before a session: refused: {error}")
                connection.sendall(frames.pack(Kind.ERROR, frames.NO_SESSION, 0, frames.text(str(error))))
                return
            if first is None:
                return
            connection.settimeout(None)
            limit = self.world.policy.limits.sessions
            with self.door:
                self.sessions += 1
                self.begun += 1
                name, full = f"session {self.begun}", self.sessions > limit
            try:
                if full:
                    raise FrameError(f"limit: {limit} sessions at a time; close one", lost=True)
                self.converse(connection, name, *first)
            except StudyError as error:
                self.said(f"{name}: refused: {error}")
                connection.sendall(frames.pack(Kind.ERROR, frames.NO_SESSION, 0, frames.text(str(error))))
            finally:
                with self.door:
                    self.sessions -= 1

    def converse(self, connection: socket.socket, name: str, first: frames.Header, data: bytes) -> None:
        """Greet, then answer frame after frame. Raises StudyError where the connection must end."""
        session = self.greeted(first, data)
        self.said(f"{name}: open")
        more = torch.tensor([int(self.world.policy.gradients)])
        connection.sendall(frames.pack(Kind.DONE, session.token, 0, {"gradients": more}))
        turn = threading.Lock()  # held from a frame to its answer
        while (frame := frames.receive(connection, self.world.policy.limits.frame_bytes)) is not None:
            turn.acquire()
            self.answer(session, frame, name, Reply(connection, session.token, frame[0].number, turn))
        self.said(f"{name}: closed after {session.tally.tokens} tokens, {session.tally.sequences} sequences")

    def greeted(self, header: frames.Header, data: bytes) -> Session:
        """A session for a client with the same manifest. Raises FrameError where it has another."""
        given = frames.tensors_of(data).get("binding")
        if header.kind != Kind.HELLO or given is None or seal.content(given) != self.world.binding:
            raise FrameError(
                "hello: another manifest than the secure world's; open the halves that belong together", True
            )
        return Session(self.world, Tally(self.world.policy.limits, self.ledger, self.rate))

    def answer(self, session: Session, frame: tuple[frames.Header, bytes], name: str, reply: "Reply") -> None:
        """Answer a frame, now or once it had its place at the machine."""
        kind, found = self.outcome(lambda: session.begin(*frame), name)
        if not isinstance(found, Later):
            reply.send(kind, found)
            return

        def told(step: Step) -> None:
            reply.send(*self.outcome(lambda: found.made(step.left()), name))

        self.world.machine.ask(Step(found.question, id(session), told))

    def outcome(self, work: Callable[[], dict | Later], name: str) -> tuple[Kind, dict | Later]:
        """What a piece of work gives, or why not, in one line."""
        try:
            return Kind.DONE, work()
        except StudyError as error:
            line = str(error)
        except Exception as error:  # the secure world goes on serving the others, and shows no content
            line = f"frame: cannot be answered ({type(error).__name__}); use the client of the same version"
        self.said(f"{name}: refused: {line}")
        return Kind.ERROR, frames.text(line)


@dataclass(frozen=True)
class Reply:
    """Where an answer goes, and whose turn ends with it."""

    connection: socket.socket
    session: bytes
    number: int
    turn: threading.Lock

    def send(self, kind: Kind, tensors: dict) -> None:
        """Send it. Nobody waits here for a client that does not read: what its buffer does not take has a thread."""
        data = frames.pack(kind, self.session, self.number, tensors)
        try:
            sent = self.connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:  # a client that has gone
            sent = len(data)
        if sent < len(data):
            threading.Thread(target=self.finish, args=(data[sent:],), daemon=True).start()
        else:
            self.turn.release()

    def finish(self, data: bytes) -> None:
        """The rest of an answer, as the client reads it."""
        with suppress(OSError):
            self.connection.sendall(data)
        self.turn.release()


def shut_in() -> None:
    """No dump of this process's memory, and no reading of it by other processes of the same user (root still can)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DUMPABLE, 0, 0, 0, 0)


def command() -> None:
    """python -m solid_utils.runtime.serve"""
    parser = argparse.ArgumentParser(prog="solid_utils.runtime.serve", description="Serve a sealed half.")
    parser.add_argument("open", type=Path, help="the open half: of it, configuration and manifest")
    parser.add_argument("sealed", type=Path, help="the sealed half")
    parser.add_argument("socket", help="a path, or @NAME for an abstract socket")
    parser.add_argument("--key", required=True, help=f"the sealing key: {keys.FORMS}")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the computation")
    parser.add_argument("--together", type=int, default=ROWS, help="decode steps in one batch, at most; 1: each alone")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one ends")
    wanted = parser.parse_args()
    with errors.one_line():
        shut_in()
        if wanted.with_parent:
            ctypes.CDLL(None).prctl(PARENTS_DEATH, signal.SIGKILL, 0, 0, 0)
        torch.set_num_threads(wanted.threads)
        said = lambda line: print(line, file=sys.stderr)  # noqa: E731
        server = Server(wanted.open, wanted.sealed, keys.read(wanted.key), said, wanted.together)
        listener = listening(wanted.socket)
        print(f"serving {len(server.world.inside.doors.segments)} segments at {wanted.socket}", flush=True)
        server.serve(listener)


if __name__ == "__main__":
    command()
