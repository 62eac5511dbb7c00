"""Which parts of the hub's data sets (tasks.downloads) a study reads, by its settings."""

from solid_utils.settings import params
from solid_utils.tasks.downloads import EVERYTHING


def parts_read(study: params.Params) -> frozenset[str]:
    """Of DataSet.parts those that some stage of this study reads: none, where all its data are packaged."""
    parts = {"attack"} if study.data.source == "hub" else set()
    if all(study.budgets(model).evaluation.suite != "published" for model in study.study.models):
        return frozenset(parts)
    domains = {study.customizations[run].domain for run in study.study.customizations}
    if study.allow_code:
        parts |= {"code"}
    if study.published.judge and domains:
        parts |= {"mt_bench"}
    return frozenset(parts | {"security"} | domains - {"code"}) & EVERYTHING  # a domain may have no data set there
