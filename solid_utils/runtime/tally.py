"""What was asked, and how much may be: tokens and sequences by session and day, tokens a second."""

import time
from collections import Counter
from collections.abc import Callable

from solid_utils.core.errors import StudyError
from solid_utils.runtime.counters import Ledger
from solid_utils.runtime.manifest import Limits

BURST = 10  # seconds of allowance that may be saved up


class Rate:
    """Tokens a second over all sessions, as a bucket that fills with time."""

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic):
        self.rate, self.clock = rate, clock
        self.left, self.seen = BURST * (rate or 0), clock()

    def spend(self, tokens: int) -> None:
        """Raises StudyError, and takes nothing, where that is too fast."""
        if self.rate is None:
            return
        now = self.clock()
        self.left = min(BURST * self.rate, self.left + (now - self.seen) * self.rate)
        self.seen = now
        if tokens > self.left:
            raise StudyError(f"limit: {self.rate} tokens a second; wait")
        self.left -= tokens


class Tally:
    """What one session has asked.

    A forward through several doors asks at each of them the same tokens, so what counts is the door that was asked
    most: asking only one of them is no way around.
    """

    def __init__(self, limits: Limits, ledger: Ledger, rate: Rate):
        self.limits, self.ledger, self.rate = limits, ledger, rate
        self.by_door = {"tokens": Counter(), "sequences": Counter()}
        self.gradients = 0  # tokens through which gradients were pulled

    @property
    def tokens(self) -> int:
        return max(self.by_door["tokens"].values(), default=0)

    @property
    def sequences(self) -> int:
        return max(self.by_door["sequences"].values(), default=0)

    def spend(self, door: int, tokens: int, sequences: int, worked: int) -> None:
        """Count what is about to be answered; `worked`: tokens that are computed, for the rate.

        Raises StudyError, and counts nothing, where a limit of session, day or second would be passed.
        """
        after = {
            "tokens": max(self.tokens, self.by_door["tokens"][door] + tokens),
            "sequences": max(self.sequences, self.by_door["sequences"][door] + sequences),
        }
        for what, count in after.items():
            most = getattr(self.limits, f"{what}_session")
            if most is not None and count > most:
                raise StudyError(f"limit: {most} {what} a session; open another one")
        grown = after["tokens"] - self.tokens, after["sequences"] - self.sequences
        with self.ledger.lock:  # all sessions' books
            self.rate.spend(worked)
            self.ledger.spend(*grown, (self.limits.tokens_day, self.limits.sequences_day))
        self.by_door["tokens"][door] += tokens
        self.by_door["sequences"][door] += sequences

    def pull(self, tokens: int) -> None:
        """Count a gradient through so many tokens: a forward and a backward pass, and tokens of the day.

        Raises StudyError, and counts nothing, where a limit would be passed.
        """
        most = self.limits.gradients_session
        if most is not None and self.gradients + tokens > most:
            raise StudyError(f"limit: gradients of {most} tokens a session; open another one")
        with self.ledger.lock:
            self.rate.spend(2 * tokens)
            self.ledger.spend(tokens, 0, (self.limits.tokens_day, self.limits.sequences_day))
        self.gradients += tokens
