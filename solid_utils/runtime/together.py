"""One place at the machine. Decode steps of several sessions that wait for it go through the secured layers together.

Who gets the machine takes along whoever stands in the queue, and waits for texts that came back quickly until now
and are about to. A lone client's steps are always alone, wait for nobody, and equal the plain model's to the last bit.
Steps that went together equal them up to rounding: a product of more rows adds in another order.
"""

import threading
import time
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from solid_utils.runtime.inside import Asked, Inside

ROWS = 16  # of a batch, at most
QUICK = 0.05  # seconds from an answer to the text's next step: who is slower is not waited for


@dataclass(eq=False)  # two steps are the same only where they are one
class Step:
    """What one session waits for."""

    asked: Asked
    state: Tensor | None = None  # what leaves
    error: BaseException | None = None
    pause: float = QUICK  # seconds since the text's last answer
    told: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> bool:
        return self.state is not None or self.error is not None


class Machine:
    """Runs what is asked, one forward at a time."""

    def __init__(self, inside: Inside, rows: int = ROWS):
        """`rows`: of decode steps that go together, at most; 1: each alone."""
        self.inside, self.rows = inside, rows
        self.lock, self.door = threading.Lock(), threading.Condition()  # of the machine; of the queue
        self.waiting: list[Step] = []
        self.answered: dict[int, float] = {}  # cache of a text -> when its last step was answered
        self.due: dict[int, float] = {}  # the same -> until when its next step is waited for
        self.busy = False  # does somebody lead?
        self.forwards = 0  # that were run

    def run(self, asked: Asked) -> Tensor:
        """What leaves the segment, (batch, tokens, width); the cache among what is asked has grown."""
        step = Step(asked)
        with self.door:
            self.waiting.append(step)
            step.pause = time.monotonic() - self.answered.pop(id(asked.cache), 0)
            self.due.pop(id(asked.cache), None)
            leads, self.busy = not self.busy, True
            self.door.notify()
        if not leads:
            step.told.wait()  # that it is done, or that it leads now
        if not step.done:
            self.lead(step)
        if step.error is not None:
            raise step.error
        return step.state

    def lead(self, step: Step) -> None:
        """Work for this step and its company; then tell them, and who leads next."""
        with self.lock:
            chosen = self.taken(step)
            self.work(chosen)
        with self.door:
            following = self.waiting[:1]
            self.busy = bool(following)
        for one in chosen + following:
            one.told.set()

    def taken(self, first: Step) -> list[Step]:
        """This step and those that may go with it, off the queue."""
        with self.door:
            if self.rows > 1 and joinable(first.asked):
                while (patience := self.patience()) > 0:
                    self.door.wait(patience)
            chosen, rows = [first], len(first.asked.ids)
            for other in self.waiting:
                fits = other is not first and fitting(first.asked, other.asked)
                if fits and rows + len(other.asked.ids) <= self.rows:
                    chosen.append(other)
                    rows += len(other.asked.ids)
            self.waiting = [step for step in self.waiting if step not in chosen]
        return chosen

    def patience(self) -> float:
        """Seconds that a batch which is not full yet waits for texts that are due."""
        now = time.monotonic()
        self.due = {text: until for text, until in self.due.items() if until > now}
        return max(self.due.values(), default=now) - now if len(self.waiting) < self.rows else 0

    def note(self, step: Step) -> None:
        """A text was answered: who came back quickly before is waited for, twice as long as that took."""
        if step.asked.cache is None or self.rows == 1:
            return
        now, text = time.monotonic(), id(step.asked.cache)
        with self.door:
            self.answered = {one: when for one, when in self.answered.items() if now - when < QUICK} | {text: now}
            if step.pause < QUICK:
                self.due[text] = now + 2 * step.pause

    def work(self, steps: list[Step]) -> None:
        """Fill in what leaves, or why not. What fails together is tried alone: none is refused for another's sake."""
        if len(steps) == 1:
            self.alone(steps[0])
            return
        try:
            self.together(steps)
        except Exception:
            for step in steps:
                self.alone(step)

    def alone(self, step: Step) -> None:
        """One step, or anything else that is asked."""
        self.forwards += 1
        try:
            step.state = self.inside.run(step.asked)
        except Exception as error:
            step.error = error
        self.note(step)

    def together(self, steps: list[Step]) -> None:
        """Steps as one batch."""
        whole = joined([step.asked for step in steps], self.inside.new_cache())
        self.forwards += 1
        states = self.inside.run(whole)
        begun = 0
        for step in steps:
            rows = slice(begun, begun + len(step.asked.ids))
            step.state = states[rows].clone()
            grow(step.asked.cache, whole.cache, rows)
            begun = rows.stop
            self.note(step)


def fitting(first: Asked, other: Asked) -> bool:
    """May these two go through the layers in one batch?"""
    return first.segment == other.segment and joinable(first) and joinable(other)


def joinable(asked: Asked) -> bool:
    """One token a row, after others whose keys and values are held in full, at positions that are known.

    Models without position numbers count real tokens, or all: with no padding that is the same.
    """
    if asked.cache is None or asked.ids.shape[1] != 1 or not asked.past:
        return False
    known = asked.positions is not None or asked.mask is None or bool(asked.mask.all())
    return known and all(type(layer) is DynamicLayer for layer in asked.cache.layers)  # a sliding one has lost its keys


def joined(steps: list[Asked], cache: DynamicCache) -> Asked:
    """One batch of them. Shorter texts are padded on the left; `cache` is an empty one, and becomes the batch's."""
    past = max(step.past for step in steps)
    for index, layer in enumerate(steps[0].cache.layers):
        if layer.get_seq_length():
            keys = torch.cat([padded(step.cache.layers[index].keys, past) for step in steps])
            values = torch.cat([padded(step.cache.layers[index].values, past) for step in steps])
            cache.update(keys, values, index)
    even = all(step.past == past and step.mask is None for step in steps)
    state = None if steps[0].state is None else torch.cat([step.state for step in steps])
    return replace(
        steps[0],
        state=state,
        ids=torch.cat([step.ids for step in steps]),
        mask=None if even else torch.cat([mask_of(step, past) for step in steps]),
        positions=torch.cat([positions_of(step) for step in steps]),
        cache=cache,
    )


def padded(keys: Tensor, past: int) -> Tensor:
    """(rows, heads, tokens, size), with zeros before the first token."""
    return nn.functional.pad(keys, (0, 0, past - keys.shape[2], 0))


def mask_of(step: Asked, past: int) -> Tensor:
    """(rows, past + 1): what was masked, and what is only padding."""
    own = torch.ones(len(step.ids), step.past + 1, dtype=torch.int64) if step.mask is None else step.mask
    return nn.functional.pad(own, (past - step.past, 0))


def positions_of(step: Asked) -> Tensor:
    """(rows, 1)."""
    own = torch.full((1, 1), step.past) if step.positions is None else step.positions
    return own.expand(len(step.ids), 1)


def grow(own: DynamicCache, whole: DynamicCache, rows: slice) -> None:
    """Append to a session's keys and values what the batch has computed for its rows."""
    for index, layer in enumerate(whole.layers):
        if layer.get_seq_length():
            own.update(layer.keys[rows, :, -1:], layer.values[rows, :, -1:], index)
