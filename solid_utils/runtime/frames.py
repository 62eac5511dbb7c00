"""What crosses between the two worlds: frames of safetensors behind a fixed header. No pickle, no JSON of anybody's.

    magic (4) | version (1) | kind (1) | zero (2) | session (8) | number (8) | length (8) | safetensors (length)

Numbers of a session count up by one: a frame that comes twice, or from another session, is refused. Nothing is
authenticated here: the customer holds both ends of the socket, and may ask what he likes.
"""

import enum
import socket
import struct
from dataclasses import dataclass

import safetensors.torch
import torch
from safetensors import TensorSpec, serialize
from torch import Tensor

from solid_utils.core.errors import StudyError

HEADER = struct.Struct(">4sBBH8sQQ")
MAGIC, VERSION = b"SOLD", 1
TYPES = {torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool}
NAMES = 16  # tensors of a frame, at most
NO_SESSION = bytes(8)


class Kind(enum.IntEnum):
    """What a frame asks, or answers."""

    HELLO = 1  # the manifest's hash -> a session
    RUN = 2  # through a segment
    HEAD = 3  # logits of states that stayed inside
    MODULE = 4  # through a lone module
    PULL = 5  # the vector-Jacobian product of RUN or MODULE
    COUNTS = 6  # what this session has asked
    DONE = 64
    ERROR = 65


class FrameError(StudyError):
    """A frame that is refused. `lost`: where the next one begins is not known, so the connection ends."""

    def __init__(self, line: str, lost: bool = False):
        super().__init__(line)
        self.lost = lost


@dataclass(frozen=True)
class Header:
    kind: Kind
    session: bytes
    number: int
    length: int


def pack(kind: Kind, session: bytes, number: int, tensors: dict[str, Tensor]) -> bytes:
    """A whole frame."""
    held = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}  # alive until they are written
    # As safetensors.torch.save, whose checks for shared memory took a fifth of a decode step.
    specs = {
        name: TensorSpec(
            dtype=str(one.dtype).removeprefix("torch."), shape=one.shape, data_ptr=one.data_ptr(), data_len=one.nbytes
        )
        for name, one in held.items()
    }
    data = bytes(serialize(specs))
    return HEADER.pack(MAGIC, VERSION, kind, 0, session, number, len(data)) + data


def header(data: bytes, longest: int) -> Header:
    """The header of a frame of at most `longest` bytes behind it. Raises FrameError where it is none."""
    magic, version, kind, zero, session, number, length = HEADER.unpack(data)
    if magic != MAGIC or version != VERSION or zero or kind not in list(Kind):
        raise FrameError("frame: no header of this protocol; use the client of the same version", lost=True)
    if length > longest:
        raise FrameError(f"frame: {length} bytes, {longest} are allowed; ask for less at a time", lost=True)
    return Header(Kind(kind), session, number, length)


def tensors_of(data: bytes) -> dict[str, Tensor]:
    """The tensors of a frame. Raises FrameError where there are none, or of types that never cross."""
    try:
        found = safetensors.torch.load(data)
    except Exception as error:  # SafetensorError, KeyError, ValueError, ...: whatever somebody's bytes bring about
        raise FrameError(f"frame: no safetensors ({type(error).__name__}); send it again") from None
    if len(found) > NAMES or any(tensor.dtype not in TYPES for tensor in found.values()):
        raise FrameError("frame: tensors of a type or number that never crosses; use the client of the same version")
    # Cloned to where torch would have put them: products may differ in the last bit with a state's place in memory.
    return {name: tensor.clone() for name, tensor in found.items()}


def exactly(connection: socket.socket, count: int) -> bytearray | None:
    """So many bytes; None where the other end has gone."""
    data, view = bytearray(count), 0
    while view < count:
        received = connection.recv_into(memoryview(data)[view:], count - view)
        if not received:
            return None
        view += received
    return data


def receive(connection: socket.socket, longest: int) -> tuple[Header, bytes] | None:
    """The next frame, its tensors unread; None where the other end has gone. Raises FrameError, see `header`."""
    head = exactly(connection, HEADER.size)
    if head is None:
        return None
    read = header(bytes(head), longest)
    data = exactly(connection, read.length)
    return None if data is None else (read, bytes(data))


def text(line: str) -> dict[str, Tensor]:
    """A line as a frame's tensors."""
    return {"line": torch.frombuffer(bytearray(line.encode()), dtype=torch.uint8)}


def line_of(tensors: dict[str, Tensor]) -> str:
    """The line of `text`."""
    return bytes(tensors["line"].numpy()).decode(errors="replace")
