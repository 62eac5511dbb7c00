"""Keys and values that the secure world keeps for a session, found again by marks that the client carries for it.

The client's own cache holds, in place of a secured layer's keys, one number a position: the mark of the call and row
that it came from. Whatever Transformers does to a cache (select rows, reorder beams, cut) it does to the marks, and the
last mark of each row says which keys and values are meant.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import selected
from solid_utils.runtime.frames import FrameError

ROWS = 2**20  # marks of one call
FIRST = 2**40  # calls begin anywhere below, so that a mark of another session is not taken for one of this
MOST = 4  # caches of one session and segment; the oldest goes


@dataclass
class Kept:
    cache: DynamicCache
    marks: Tensor  # (batch, tokens) int64


class States:
    """The caches of one segment in one session."""

    def __init__(self):
        self.kept: list[Kept] = []
        self.calls = secrets.randbelow(FIRST)

    def find(self, rows: Tensor, past: int) -> Kept:
        """Keys and values of the first `past` tokens of each row, named by its last mark; (batch,) int64.

        What is found is no longer kept: `keep` it, grown. Raises FrameError where a row is not held (any more).
        """
        for place in reversed(range(len(self.kept))):
            one = self.kept[place]
            if one.marks.shape[1] == past and torch.equal(one.marks[:, -1], rows):
                return self.kept.pop(place)
        for one in reversed(self.kept):
            if one.marks.shape[1] >= past and (found := places(one.marks[:, past - 1], rows)) is not None:
                return cut(one, found, past)
        raise FrameError("session: these keys and values are not held any more; begin the text again")

    @contextmanager
    def unless_refused(self, one: Kept | None) -> Iterator[None]:
        """What a limit refuses may be asked again later: what was found for it goes back."""
        try:
            yield
        except StudyError:
            if one is not None and one.marks.shape[1]:
                self.kept = [*self.kept[-(MOST - 1) :], one]
            raise

    def keep(self, one: Kept, tokens: int) -> Tensor:
        """Keep a cache that has grown by so many tokens; returns the mark of each row, (batch,)."""
        self.calls += 1
        rows = self.calls * ROWS + torch.arange(len(one.marks))
        one.marks = torch.cat([one.marks, rows[:, None].expand(-1, tokens)], dim=1)
        self.kept = [*self.kept[-(MOST - 1) :], one]
        return rows


def places(column: Tensor, rows: Tensor) -> list[int] | None:
    """Where each of `rows` stands in `column`; None where one does not."""
    where = {mark: place for place, mark in enumerate(column.tolist())}
    found = [where.get(row) for row in rows.tolist()]
    return None if None in found else found


def cut(one: Kept, found: list[int], past: int) -> Kept:
    """A copy of these rows of a cache, cut after `past` tokens."""
    cache, more = selected(one.cache, found), one.marks.shape[1] - past
    if more:
        try:
            cache.crop(-more)
        except RuntimeError:  # beyond a sliding window
            raise FrameError("session: a sliding window has left these keys behind; begin the text again") from None
    return Kept(cache, one.marks[found, :past])
