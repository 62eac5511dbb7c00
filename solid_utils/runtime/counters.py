"""Counters of a day, in a file that only the key's holder can write: a restart does not refill a limit.

They are written ahead: a piece is booked before it is answered from, so that a killed process loses what was left of a
piece and never gains. What this cannot see is an older copy of the file, put back: that needs a counter in hardware.
"""

import hashlib
import hmac
import json
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from solid_utils.core import files, readers
from solid_utils.core.errors import StudyError
from solid_utils.runtime import keys

FILE = "counters.json"
FIX = "put the file back that belongs there, or split the model again"
TOKENS, SEQUENCES = 4096, 64  # of a piece


@dataclass(frozen=True)
class Day:
    """What was booked until now, on one day of UTC."""

    day: str  # YYYY-MM-DD
    tokens: int = 0
    sequences: int = 0


def today() -> str:
    """The day by the system's clock. Set forward, it refills a day's limit; set back, it changes nothing."""
    return datetime.now(UTC).date().isoformat()


def begin(folder: Path, key: bytes, binding: bytes) -> None:
    """The file of a model that nobody has asked anything. Raises StudyError when it cannot be written."""
    write(Day(""), folder, key, binding)


def write(day: Day, folder: Path, key: bytes, binding: bytes) -> None:
    """Keep the counters, whole, before anything is answered from them."""
    files.write_json({"day": asdict(day), "mac": mac(day, key, binding)}, folder / FILE)


def mac(day: Day, key: bytes, binding: bytes) -> str:
    """HMAC-SHA256 of the counters, under a key of their own."""
    text = json.dumps([day.day, day.tokens, day.sequences]).encode()
    return hmac.new(keys.derived(key, "counters", binding), text, hashlib.sha256).hexdigest()


def read(folder: Path, key: bytes, binding: bytes) -> Day:
    """The counters as they were left. Raises StudyError where there are none, or they were changed."""
    path = folder / FILE
    found = readers.read_object(path, FIX)
    try:
        day = Day(**found["day"])
        good = hmac.compare_digest(mac(day, key, binding), found["mac"])
    except (KeyError, TypeError):
        raise StudyError(f"{path}: no counters; {FIX}") from None
    if not good:
        raise StudyError(f"{path}: counters of another key or manifest, or they were changed; {FIX}")
    return day


def clear(folder: Path) -> None:
    """Remove what a killed process left half written beside the counters; the caller holds the folder's lock."""
    for half in folder.glob(f"{FILE}.partial-*"):
        half.unlink(missing_ok=True)


class Ledger:
    """A day's counters over all sessions, exact while the process runs; a restart begins at what was booked."""

    def __init__(self, folder: Path, key: bytes, binding: bytes):
        self.folder, self.key, self.binding = folder, key, binding
        self.booked = self.used = read(folder, key, binding)
        self.lock = threading.Lock()  # held by whoever spends

    def spend(self, tokens: int, sequences: int, most: tuple[int | None, int | None]) -> None:
        """Count what is about to be answered. `most`: tokens and sequences of a day.

        Raises StudyError, and counts nothing, where a limit would be passed.
        """
        if today() > self.used.day:
            self.used, self.booked = Day(today()), Day("")
        used = Day(self.used.day, self.used.tokens + tokens, self.used.sequences + sequences)
        for what, asked, limit in zip(("tokens", "sequences"), (used.tokens, used.sequences), most, strict=True):
            if limit is not None and asked > limit:
                raise StudyError(f"limit: {limit} {what} a day; ask again tomorrow")
        if used.day != self.booked.day or used.tokens > self.booked.tokens or used.sequences > self.booked.sequences:
            booked = Day(used.day, ahead(used.tokens, TOKENS, most[0]), ahead(used.sequences, SEQUENCES, most[1]))
            write(booked, self.folder, self.key, self.binding)
            self.booked = booked
        self.used = used


def ahead(count: int, piece: int, limit: int | None) -> int:
    """The end of the piece that a count lies in, not beyond the limit; of a small limit a piece is a sixteenth."""
    piece = piece if limit is None else min(piece, max(1, limit // 16))
    end = -(-count // piece) * piece
    return end if limit is None else min(end, limit)
