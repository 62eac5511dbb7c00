"""The client's end of the socket, and what the model's forward at hand was given."""

import functools
import hashlib
import inspect
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solid_utils.core.errors import StudyError
from solid_utils.runtime import frames
from solid_utils.runtime.frames import FrameError, Kind
from solid_utils.runtime.seal import content
from solid_utils.runtime.serve import address_of

LONGEST = 2**31  # bytes of an answer: the client trusts its secure world with its memory


@dataclass(frozen=True)
class Context:
    """What the decoder was given: what a secured layer's forward needs and does not see."""

    ids: Tensor | None = None
    mask: Tensor | None = None  # (batch, past + tokens)
    positions: Tensor | None = None


class Link:
    """A session with a secure world. One for a model and all its copies; frames go one at a time."""

    def __init__(self, place: str, binding: bytes, remember: int = 0):
        """`remember`: bytes of states that training keeps instead of asking again, see `remembered`."""
        self.place, self.binding = place, binding
        self.lock = threading.RLock()
        self.connection: sockets.socket | None = None
        self.context, self.wanted, self.silent = Context(), None, False
        self.memory, self.room = {}, remember
        self.crossed = [0, 0]  # bytes of frames, to the secure world and back
        self.open()

    def __deepcopy__(self, _: dict) -> "Link":
        return self

    def open(self) -> None:
        """Begin a session, also again after the secure world was started anew. Raises StudyError where none answers."""
        self.close()
        connection = sockets.socket(sockets.AF_UNIX)
        try:
            connection.connect(address_of(self.place))
        except OSError as error:
            connection.close()
            raise StudyError(
                f"socket {self.place}: no secure world answers ({error.strerror}); start "
                "`python -m solid_utils.runtime.serve OPEN SEALED SOCKET`"
            ) from None
        self.connection, self.session, self.number = connection, frames.NO_SESSION, -1
        hash_of = torch.frombuffer(bytearray(self.binding), dtype=torch.uint8)
        granted = self.ask(Kind.HELLO, {"binding": hash_of})
        self.gradients = bool(granted["gradients"].item())

    def close(self) -> None:
        """End the session."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def ask(self, kind: Kind, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """One frame and its answer. Raises StudyError where it is refused, or the secure world is gone."""
        with self.lock:
            if self.connection is None:
                raise self.gone("no session is open")
            self.number += 1
            try:
                frame = frames.pack(kind, self.session, self.number, tensors)
                self.connection.sendall(frame)
                received = frames.receive(self.connection, LONGEST)
            except FrameError:
                self.close()
                raise
            except OSError as error:
                raise self.gone(error.strerror or type(error).__name__) from None
            if received is None:
                raise self.gone("it ended")
            header, data = received
            self.crossed[0] += len(frame)
            self.crossed[1] += frames.HEADER.size + len(data)
            self.session = header.session if kind == Kind.HELLO else self.session
            given = frames.tensors_of(data)
            if header.kind == Kind.ERROR:
                raise StudyError(f"secure world: {frames.line_of(given)}")
            return given

    def gone(self, why: str) -> StudyError:
        """The one error of a secure world that does not answer."""
        self.close()
        return StudyError(
            f"socket {self.place}: the secure world is gone ({why}); start it again and call secure.open() of the model"
        )

    def counts(self) -> dict[str, int]:
        """What this session has asked, as the secure world counts it."""
        found = self.ask(Kind.COUNTS, {})["counts"].tolist()
        return dict(zip(("tokens", "sequences", "gradients"), found, strict=True))

    # Of the forward at hand -------------------------------------------------------------------------------------------

    def note(self, decoder: nn.Module, args: tuple, kwargs: dict) -> None:
        """A hook before the decoder's forward. Raises StudyError for a mask that cannot go through a door."""
        given = parameters_of(type(decoder)).bind_partial(decoder, *args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        mask = given.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise StudyError("attention_mask: behind a door it is (batch, tokens), ones and zeros; give that")
        self.context = Context(given.get("input_ids"), mask, given.get("position_ids"))

    @contextmanager
    def asking(self, wanted: Tensor) -> Iterator[None]:
        """For the duration, only these positions, bool (batch, tokens), are asked of a segment and counted."""
        self.wanted = wanted
        try:
            yield
        finally:
            self.wanted = None

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """For the duration nothing is asked: segments hand their input on. For looking at a model's form."""
        self.silent = True
        try:
            yield
        finally:
            self.silent = False

    # What training has asked before -----------------------------------------------------------------------------------

    def remembered(self, key: bytes) -> Tensor | None:
        """The states of a text that was asked before; a bottom set's never change."""
        return self.memory.get(key)

    def remember(self, key: bytes, states: Tensor) -> None:
        """Keep a text's states, as long as there is room."""
        if states.nbytes <= self.room and key not in self.memory:
            self.memory[key] = states.clone()
            self.room -= states.nbytes


@functools.cache  # reading a signature takes longer than a tiny layer
def parameters_of(decoder: type) -> inspect.Signature:
    """The signature of a decoder's forward."""
    return inspect.signature(decoder.forward)


def digest(*tensors: Tensor) -> bytes:
    """What tells one text's inputs from another's."""
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + content(tensor))
    return made.digest()
