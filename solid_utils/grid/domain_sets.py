"""A cell's data: its domain's sets as the settings make them now.

The study's own sets of a domain may be of older settings, and nothing beside them says of which; those in build/domains
say so, and are the same items where the settings agree.
"""

from pathlib import Path

from solid_utils.core import paths
from solid_utils.customization.customization import CustomizationRun
from solid_utils.data.offline import offline
from solid_utils.grid import shared
from solid_utils.settings import params

PARTS = ("train", "validation", "test")


def sets_of(domain: str, study: params.Params) -> None:
    """See to it that the domain's sets are there: of packages beside the study's own, else the study's own."""
    if not study.offline(domain) and all((paths.SETS / f"{domain}_{part}.jsonl").exists() for part in PARTS):
        return
    wanted = params.pick(study.domains, domain, "domains")
    with shared.alone(paths.DOMAINS):
        if not offline.there(domain, wanted):
            offline.write(domain, wanted)


class DomainRun(CustomizationRun):
    """A customization that reads what `sets_of` saw to."""

    @property
    def items_in(self) -> Path:
        return paths.DOMAINS if self.study.offline(self.customization.domain) else paths.SETS
