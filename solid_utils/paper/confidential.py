"""What securing a whole model costs in confidential computing, as others have published it.

Not the paper's, and nothing of it was measured here: it stands beside what a few secured layers cost.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Overhead:
    """A published overhead: tokens a second that are lost, in percent. `low`: None where only a bound is given."""

    where: str
    low: float | None
    high: float
    source: str

    @property
    def words(self) -> str:
        """Such as "4 to 8 %"."""
        return f"under {self.high:g} %" if self.low is None else f"{self.low:g} to {self.high:g} %"


OVERHEADS = (
    Overhead("one H100, whole model in its confidential mode, throughput", 4, 8, "arXiv:2509.18886"),
    Overhead("H100 in confidential mode, most typical LLM queries", None, 7, "Phala, arXiv:2409.03992"),
)
