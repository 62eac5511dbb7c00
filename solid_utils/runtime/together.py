"""One place at the machine. Decode steps of several sessions that wait for it go through the secured layers together.

So do the states whose logits they ask of a secured head. The machine has a thread of its own. It takes whoever stands
in the queue, waits for sessions that came back quickly until now and are about to, and tells each what came out; their
own threads read the next frames meanwhile. (Where those slept until their step was done, a third of a batch's time went
into waking sixteen of them.) A lone client's steps are always alone, wait for nobody, and equal the plain model's to
the last bit. Steps that went together equal them up to rounding: a product of more rows adds in another order.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from solid_utils.runtime.inside import Asked, Inside

ROWS = 16  # of a batch, at most
QUICK = 0.05  # seconds from an answer to the session's next step: who is slower is not waited for
KNOWN = 60.0  # seconds after which a session's habits are forgotten
IDLE = 5.0  # seconds without a question after which the machine's thread ends


@dataclass
class Logits:
    """States whose logits a session asks of the secured head, (places, width)."""

    states: Tensor
    step: bool  # of a text that goes on, whose keys and values are held


Question = Asked | Logits


@dataclass
class Habit:
    """How a session has come back until now."""

    answered: float = -math.inf  # when it was answered last
    pauses: dict[type, float] = field(default_factory=dict)  # what it asked -> seconds since the answer before that


@dataclass(eq=False)  # two steps are the same only where they are one
class Step:
    """What one session waits for."""

    asked: Question
    session: int
    told: Callable[["Step"], None]  # is given this step once one of these is there; must not raise
    state: Tensor | None = None  # what leaves
    error: BaseException | None = None

    def left(self) -> Tensor:
        """What leaves. Raises what went wrong."""
        if self.error is not None:
            raise self.error
        return self.state


class Machine:
    """Runs what is asked, one forward at a time."""

    def __init__(self, inside: Inside, rows: int = ROWS):
        """`rows`: of decode steps that go together, at most; 1: each alone."""
        self.inside, self.rows = inside, rows
        self.lock, self.door = threading.Lock(), threading.Condition()  # of the machine; of the queue
        self.waiting: list[Step] = []
        self.habits: dict[int, Habit] = {}  # of sessions that were answered of late
        self.due: dict[int, tuple[type, float]] = {}  # session -> what it will ask next, until when that is waited for
        self.thread: threading.Thread | None = None
        self.forwards = 0  # that were run

    def ask(self, step: Step) -> None:
        """Put a step into the queue. A session asks one thing at a time."""
        with self.door:
            self.waiting.append(step)
            self.due.pop(step.session, None)
            if (habit := self.habits.get(step.session)) is not None:
                habit.pauses[type(step.asked)] = time.monotonic() - habit.answered
            if self.thread is None or not self.thread.is_alive():  # it has ended, or this process was forked off
                self.thread = threading.Thread(target=self.serve, daemon=True)
                self.thread.start()
            # Woken for each step, the machine went to sleep again fifteen times before a batch of sixteen was there.
            if len(self.waiting) == 1 or self.patience(type(self.waiting[0].asked)) <= 0:
                self.door.notify()

    def run(self, asked: Question, session: int = 0) -> Tensor:
        """What leaves the segment, (batch, tokens, width), where the cache among what is asked has grown; or logits.

        `session` tells who asks.
        """
        done = threading.Event()
        step = Step(asked, session, lambda _: done.set())
        self.ask(step)
        done.wait()
        return step.left()

    @torch.no_grad()
    def serve(self) -> None:
        """Work off the queue until nobody has asked for a while."""
        while True:
            with self.door:
                if not self.waiting and not self.door.wait_for(lambda: self.waiting, IDLE):
                    self.thread = None
                    return
            with self.lock:
                chosen = self.taken(self.waiting[0])
                self.work(chosen)
            if self.rows > 1:
                self.note([step for step in chosen if goes_on(step.asked)])
            for step in chosen:
                step.told(step)

    def taken(self, first: Step) -> list[Step]:
        """This step and those that may go with it, off the queue."""
        with self.door:
            chosen, rows = [first], rows_of(first.asked)
            if self.rows > 1 and joinable(first.asked):
                while (patience := self.patience(type(first.asked))) > 0:
                    self.door.wait(patience)
                for other in self.waiting:
                    fits = other is not first and fitting(first.asked, other.asked)
                    if fits and rows + rows_of(other.asked) <= self.rows:
                        chosen.append(other)
                        rows += rows_of(other.asked)
            self.waiting = [step for step in self.waiting if step not in chosen]
        return chosen

    def patience(self, kind: type) -> float:
        """Seconds that a batch which is not full yet waits for sessions that are due with the same."""
        now = time.monotonic()
        self.due = {session: due for session, due in self.due.items() if due[1] > now}
        ends = [until for what, until in self.due.values() if what is kind]
        return max(ends, default=now) - now if len(self.waiting) < self.rows else 0

    def note(self, steps: list[Step]) -> None:
        """Sessions were answered: who came back quickly before is waited for, twice as long as that took."""
        now = time.monotonic()
        with self.door:
            self.habits = {one: habit for one, habit in self.habits.items() if now - habit.answered < KNOWN}
            for step in steps:
                habit = self.habits.setdefault(step.session, Habit())
                habit.answered, following = now, follows(step.asked)
                pause = habit.pauses.get(following, QUICK)
                if pause < QUICK:
                    self.due[step.session] = following, now + 2 * pause

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
            step.state = self.answer(step.asked)
        except Exception as error:
            step.error = error

    def answer(self, asked: Question) -> Tensor:
        """States that leave a segment, or logits."""
        return self.inside.head(asked.states) if isinstance(asked, Logits) else self.inside.run(asked)

    def together(self, steps: list[Step]) -> None:
        """Steps as one batch."""
        if isinstance(steps[0].asked, Logits):
            self.heads_together(steps)
            return
        whole = joined([step.asked for step in steps])
        self.forwards += 1
        states = self.inside.run(whole)
        begun = 0
        for step in steps:
            rows = slice(begun, begun + len(step.asked.ids))
            step.state = states[rows].clone()
            grow(step.asked.cache, whole.cache, rows)
            begun = rows.stop

    def heads_together(self, steps: list[Step]) -> None:
        """Logits of several sessions by one product."""
        self.forwards += 1
        logits = self.inside.head(torch.cat([step.asked.states for step in steps]))
        for step, own in zip(steps, logits.split([len(step.asked.states) for step in steps]), strict=True):
            step.state = own.clone()


def rows_of(asked: Question) -> int:
    """Rows of a batch that it takes."""
    return len(asked.states) if isinstance(asked, Logits) else len(asked.ids)


def goes_on(asked: Question) -> bool:
    """Is another step of the same text to be expected?"""
    return asked.step if isinstance(asked, Logits) else asked.cache is not None


def follows(asked: Question) -> type:
    """What a session asks next: after states that stay inside their logits, else the next token."""
    return Logits if isinstance(asked, Asked) and asked.segment.to_logits else Asked


def fitting(first: Question, other: Question) -> bool:
    """May another one go with one that is joinable, through the layers in one batch or through the head?"""
    if type(first) is not type(other) or not joinable(other):
        return False
    return isinstance(first, Logits) or first.segment == other.segment


def joinable(asked: Question) -> bool:
    """One token a row, after others whose keys and values are held in full, at positions that are known.

    Models without position numbers count real tokens, or all: with no padding that is the same. A head takes any
    states of a text that goes on.
    """
    if isinstance(asked, Logits):
        return asked.step
    if asked.cache is None or asked.ids.shape[1] != 1 or not asked.past:
        return False
    known = asked.positions is not None or asked.mask is None or bool(asked.mask.all())
    return known and all(type(layer) is DynamicLayer for layer in asked.cache.layers)  # a sliding one has lost its keys


def joined(steps: list[Asked]) -> Asked:
    """One batch of them, with a cache of its own. Shorter texts are padded on the left."""
    past, cache = max(step.past for step in steps), DynamicCache()  # of plain layers, as `joinable` has seen
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
    missing = past - keys.shape[2]
    return nn.functional.pad(keys, (0, 0, missing, 0)) if missing else keys


def mask_of(step: Asked, past: int) -> Tensor:
    """(rows, past + 1): what was masked, and what is only padding."""
    own = torch.ones(len(step.ids), step.past + 1, dtype=torch.int64) if step.mask is None else step.mask
    return nn.functional.pad(own, (past - step.past, 0)) if step.past < past else own


def positions_of(step: Asked) -> Tensor:
    """(rows, 1)."""
    own = torch.full((1, 1), step.past) if step.positions is None else step.positions
    return own.expand(len(step.ids), 1)


def grow(own: DynamicCache, whole: DynamicCache, rows: slice) -> None:
    """Append to a session's keys and values what the batch has computed for its rows."""
    for index, layer in enumerate(whole.layers):
        if layer.get_seq_length():
            own.update(layer.keys[rows, :, -1:], layer.values[rows, :, -1:], index)
