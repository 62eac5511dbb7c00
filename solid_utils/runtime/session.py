"""One client's session in the secure world: each frame is checked, counted, and answered or refused in one line."""

import secrets
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from solid_utils.core.errors import StudyError
from solid_utils.model import tensors as stored
from solid_utils.model.structure import positions
from solid_utils.runtime.boundary import Guard
from solid_utils.runtime.frames import FrameError, Header, Kind, tensors_of
from solid_utils.runtime.inside import Asked, Inside
from solid_utils.runtime.manifest import Policy
from solid_utils.runtime.states import Kept, States
from solid_utils.runtime.tally import Tally
from solid_utils.runtime.together import ROWS, Logits, Machine, Question

HELD = 4  # calls whose states stay inside until the head is asked for logits
Tensors = dict[str, Tensor]


class Later(NamedTuple):
    """An answer that waits for its place at the machine."""

    question: Question
    made: Callable[[Tensor], Tensors]  # of what leaves; may raise StudyError


class World:
    """What all sessions share: the secured part, the vendor's policy, and one place at the machine."""

    def __init__(self, inside: Inside, policy: Policy, guard: Guard, binding: bytes, rows: int = ROWS):
        """`rows`: of decode steps of several sessions that go together, at most."""
        self.inside, self.policy, self.guard, self.binding = inside, policy, guard, binding
        # Noise hangs on every bit of a state: company would draw it anew, and so tell more of the same question.
        self.machine = Machine(inside, 1 if policy.boundary.noise else rows)
        most = positions(inside.model)
        self.longest = min(policy.limits.row_tokens, most or policy.limits.row_tokens)


class Session:
    """From HELLO until the connection ends."""

    def __init__(self, world: World, tally: Tally):
        self.world, self.tally, self.inside = world, tally, world.inside
        self.token, self.number = secrets.token_bytes(8), 0
        self.states = [States() for _ in self.inside.doors.segments]
        self.held: dict[int, Logits] = {}  # call -> what the head is given, (batch * tokens, width)
        self.calls = 0

    def answer(self, header: Header, data: bytes) -> Tensors:
        """The answer to a frame. Raises StudyError where it is refused."""
        found = self.begin(header, data)
        return found.made(self.world.machine.run(found.question, id(self))) if isinstance(found, Later) else found

    def begin(self, header: Header, data: bytes) -> Tensors | Later:
        """The answer to a frame, or what the machine is to be asked for it. Raises StudyError where it is refused."""
        if header.session != self.token or header.number != self.number + 1:
            raise FrameError("frame: of another session, or it came before; send each once and in order")
        self.number += 1
        given = tensors_of(data)
        work = {
            Kind.RUN: self.run, Kind.HEAD: self.head, Kind.MODULE: self.module, Kind.PULL: self.pull,
            Kind.COUNTS: self.counts,
        }.get(header.kind)  # fmt: skip
        if work is None:
            raise FrameError("frame: nothing that is answered; use the client of the same version")
        with torch.no_grad():
            return work(given)

    def counts(self, given: Tensors) -> Tensors:
        return {"counts": torch.tensor([self.tally.tokens, self.tally.sequences, self.tally.gradients])}

    # A segment --------------------------------------------------------------------------------------------------------

    def run(self, given: Tensors) -> Later:
        """numbers (door, past tokens, keep keys and values?), state or ids; mask, positions, rows, asked as needed."""
        door, past, caches = numbers(given, 3)
        asked, wanted = self.read(given, door, past, bool(caches))
        kept, held = None, self.states[door]
        if caches:
            kept = held.find(rows_of(given, asked.ids), past) if past else None
            kept = kept or Kept(self.inside.new_cache(), torch.zeros(len(asked.ids), 0, dtype=torch.int64))
            asked.cache = kept.cache
        new = len(asked.ids) if not past else 0
        with held.unless_refused(kept):
            count = int(wanted.sum()) if wanted is not None else asked.ids.numel()
            self.tally.spend(door, count, new, asked.ids.numel())

        def made(state: Tensor) -> Tensors:
            answer = {"rows": held.keep(kept, asked.ids.shape[1])} if kept else {}
            if asked.segment.to_logits:
                return answer | {"call": torch.tensor([self.hold(state, bool(caches))])}
            state = self.world.guard(state)
            return answer | {"state": state if wanted is None else state[wanted]}

        return Later(asked, made)

    def read(self, given: Tensors, door: int, past: int, caches: bool) -> tuple[Asked, Tensor | None]:
        """What is asked of a segment, and at which positions, (batch, tokens). Raises FrameError where it is amiss."""
        if not 0 <= door < len(self.inside.doors.segments):
            raise FrameError("frame: no such door; use the client of the same version")
        segment = self.inside.doors.segments[door]
        state = None if segment.from_ids else self.floats(given, "state", 3)
        ids = self.token_ids(given) if segment.from_ids else torch.zeros(state.shape[:2], dtype=torch.int64)
        batch, count = ids.shape
        limits = self.world.policy.limits
        if not 0 < batch <= limits.rows or count < 1 or past < 0 or past + count > self.world.longest:
            raise FrameError(
                f"limit: {limits.rows} rows of {self.world.longest} tokens at a time; ask for less at a time"
            )
        if past and not caches:
            raise FrameError("frame: past tokens without keys and values; use the client of the same version")
        mask = flags(given, "mask", (batch, past + count))
        wanted = flags(given, "asked", (batch, count))
        where = integers(given, "positions", count, self.world.longest)
        if where is not None and len(where) not in (1, batch):
            raise FrameError("frame: positions of another shape; use the client of the same version")
        return Asked(segment, state, ids, None if mask is None else mask.long(), where, None, past), wanted

    def hold(self, state: Tensor, step: bool) -> int:
        """Keep states inside; returns the number of the call. `step`: of a text whose keys and values are held."""
        self.calls += 1
        self.held = dict(list(self.held.items())[-(HELD - 1) :]) | {self.calls: Logits(state.flatten(0, 1), step)}
        return self.calls

    def head(self, given: Tensors) -> Later:
        """call (1,), places (n,) -> logits (n, vocabulary)."""
        (call,) = numbers(given, 1)
        if call not in self.held:
            raise FrameError("session: these states are not held any more; begin the text again")
        held = self.held[call]
        places = integers(given, "places", None, len(held.states) - 1)
        if places is None:
            raise FrameError("frame: no places in it; use the client of the same version")
        asked = Logits(held.states[places], held.step)
        return Later(asked, lambda logits: {"logits": self.world.guard(logits)})

    # A lone module ----------------------------------------------------------------------------------------------------

    def module(self, given: Tensors) -> Tensors:
        """numbers (module,), in0, in1, ... -> out0, out1, ..."""
        number, inputs = self.inputs(given)
        tokens = inputs[0].shape[:-1].numel() if inputs[0].is_floating_point() else inputs[0].numel()
        self.tally.spend(len(self.inside.doors.segments) + number, tokens, 0, tokens)
        try:
            with self.world.machine.lock:
                output = self.inside.module(number)(*inputs)
        except (
            RuntimeError,
            TypeError,
            IndexError,
            ValueError,
        ):  # of shapes that do not fit: its text may show content
            raise FrameError(
                "frame: inputs that this module does not take; use the client of the same version"
            ) from None
        outputs = output if isinstance(output, tuple) else (output,)
        guard = self.world.guard
        return {f"out{place}": guard(one) if one.is_floating_point() else one for place, one in enumerate(outputs)}

    def inputs(self, given: Tensors) -> tuple[int, list[Tensor]]:
        """Which module, and what enters it."""
        (number,) = numbers(given, 1)
        names = sorted(name for name in given if name.startswith("in"))
        if not 0 <= number < len(self.inside.doors.modules) or names != [f"in{place}" for place in range(len(names))]:
            raise FrameError("frame: no such door; use the client of the same version")
        found = [self.floats(given, name) if given[name].is_floating_point() else given[name] for name in names]
        vocabulary = self.inside.config.vocab_size
        limits = self.world.policy.limits
        for one in found:
            if not one.numel() or (one.dtype == torch.int64 and not 0 <= int(one.min()) <= int(one.max()) < vocabulary):
                raise FrameError("frame: values that this module does not take; use the client of the same version")
        if not found or found[0].shape[:2].numel() > limits.rows * self.world.longest:
            raise FrameError("limit: too much at a time; ask for less")
        return number, found

    # Gradients --------------------------------------------------------------------------------------------------------

    def pull(self, given: Tensors) -> Tensors:
        """As RUN (three numbers) or MODULE (one), with the gradient of what left -> that of what entered."""
        if not self.world.policy.gradients:
            raise StudyError("gradients: the vendor does not allow them; train only what lies above the secured part")
        if "gradient" not in given:
            raise FrameError("frame: no gradient in it; use the client of the same version")
        gradient = self.floats(given, "gradient")
        if given.get("numbers", torch.zeros(0)).numel() == 1:
            number, inputs = self.inputs({name: one for name, one in given.items() if name != "gradient"})
            tokens = inputs[0].shape[:-1].numel()
            door, work = (
                len(self.inside.doors.segments) + number,
                lambda: self.inside.pull_module(number, inputs, gradient),
            )
        else:
            door, past, _ = numbers(given, 3)
            asked, wanted = self.read(given, door, past, False)
            if asked.state is None or asked.segment.to_logits:
                raise StudyError("gradients: none go through this door; train only what lies above the secured part")
            tokens = asked.ids.numel()
            gradient = spread(gradient, wanted, asked.state)
            work = lambda: self.inside.pull(asked, gradient)  # noqa: E731
        self.tally.pull(tokens)
        try:
            with self.world.machine.lock:
                pulled = work()
        except (RuntimeError, TypeError, IndexError, ValueError):
            raise FrameError("frame: a gradient of another shape; use the client of the same version") from None
        return {"gradient": pulled}

    # What may be in a frame -------------------------------------------------------------------------------------------

    def floats(self, given: Tensors, name: str, dimensions: int | None = None) -> Tensor:
        """A tensor of finite floating-point numbers in the model's type."""
        found = given.get(name)
        if found is None or found.dtype != self.inside.dtype or not found.numel() or not stored.finite(found):
            raise FrameError(
                f"frame: {name[:16]} is no tensor of finite {self.inside.dtype}; send the model's own type"
            )
        if dimensions and (found.ndim != dimensions or found.shape[-1] != self.inside.config.hidden_size):
            raise FrameError(f"frame: {name[:16]} has another shape; use the client of the same version")
        return found

    def token_ids(self, given: Tensors) -> Tensor:
        """Token ids (batch, tokens)."""
        found = integers(given, "ids", None, self.inside.config.vocab_size - 1)
        if found is None or found.ndim != 2:
            raise FrameError("frame: no token ids (batch, tokens) in it; use the client of the same version")
        return found


def numbers(given: Tensors, count: int) -> list[int]:
    """The whole numbers that lead a frame. Raises FrameError where there are others."""
    found = given.get("numbers")
    if found is None or found.dtype != torch.int64 or tuple(found.shape) != (count,):
        raise FrameError("frame: other numbers than this asks for; use the client of the same version")
    return found.tolist()


def flags(given: Tensors, name: str, shape: tuple[int, int]) -> Tensor | None:
    """A mask, if it is there."""
    found = given.get(name)
    if found is not None and (found.dtype != torch.bool or tuple(found.shape) != shape):
        raise FrameError(f"frame: {name} is no mask {shape}; use the client of the same version")
    return found


def integers(given: Tensors, name: str, last: int | None, largest: int) -> Tensor | None:
    """Whole numbers from 0 to `largest`, if they are there; `last`: the size of (rows, last), None: any."""
    found = given.get(name)
    if found is None:
        return None
    fits = found.dtype == torch.int64 and found.numel() > 0 and found.ndim in (1, 2)
    if not fits or (last is not None and (found.ndim != 2 or found.shape[1] != last)):
        raise FrameError(f"frame: {name} has another type or shape; use the client of the same version")
    if int(found.min()) < 0 or int(found.max()) > largest:
        raise FrameError(f"frame: {name} from 0 to {largest}; another model, or too long a text")
    return found


def rows_of(given: Tensors, ids: Tensor) -> Tensor:
    """The last mark of each row, (batch,)."""
    found = given.get("rows")
    if found is None or found.dtype != torch.int64 or tuple(found.shape) != (len(ids),):
        raise FrameError("frame: past tokens without their marks; use the client of the same version")
    return found


def spread(gradient: Tensor, wanted: Tensor | None, state: Tensor) -> Tensor:
    """Gradients of asked positions, (tokens, width), at their places: (batch, tokens, width)."""
    if wanted is None:
        return gradient
    whole = torch.zeros_like(state)
    if tuple(gradient.shape) != (int(wanted.sum()), state.shape[-1]):
        raise FrameError("frame: a gradient of another shape; use the client of the same version")
    whole[wanted] = gradient
    return whole
