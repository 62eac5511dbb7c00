"""Data sets of the hub at pinned commits, or copies of them in a folder (params.yaml: published.mirror)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.settings import data_params

# Commits of the hub's data sets, as other public code pins them; none was fetched here. FPB's holds the tables that the
# hub made of its loading script.
REVISIONS = {
    "EleutherAI/lambada_openai": "900124bf3b8235c6daf21033af9948b3f07346c4",
    "HuggingFaceH4/mt_bench_prompts": "e3a795c5e9a82ee40611c416b8a7786c73198991",
    "Rowan/hellaswag": "218ec52e09a7e7462a5400043bb9a69a41d06b76",
    "SaylorTwift/bbh": "b5306be6f827cfafbb545ff5a51f96916029b0fd",
    "allenai/ai2_arc": "210d026faf9955653af8916fad021475a3f00453",
    "allenai/openbookqa": "388097ea7776314e93a529163e0fea805b8a6454",
    "allenai/winogrande": "01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    "aps/super_glue": "3de24cf8022e94f4ee4b9d55a6f539891524d646",
    "baber/piqa": "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1",
    "cais/mmlu": "c30699e8356da336a370243923dbaf21066bb9fe",
    "google-research-datasets/mbpp": "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    "google-research-datasets/nq_open": "5dd9790a83002ad084ddeb7c420dc716852c6f28",
    "mandarjoshi/trivia_qa": "0f7faf33a3908546c6fd5b73a660e0f8ff173c2f",
    "nguha/legalbench": "daec8237410aa23e3faf4bc41ad8b3a7e1696826",
    "openai/gsm8k": "740312add88f781978c0658806c59bc2815b9866",
    "openai/openai_humaneval": "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
    "rajpurkar/squad_v2": "3ffb306f725f7d2ce8394bc1873b24868140c412",
    "takala/financial_phrasebank": "0dd3028d70cbd18ded8887e65e83343b03a50482",
    "tatsu-lab/alpaca": "dce01c9b08f87459cf36a430d809084718273017",
}


def load(
    repo: str,
    settings: data_params.Published,
    name: str | None = None,
    split: str = "train",
    revision: str | None = None,
) -> datasets.Dataset:
    """One split of a data set; `name`: its configuration, where it has several; `revision`: else REVISIONS has it.

    Raises StudyError where it is not to be had.
    """
    datasets.disable_progress_bars()
    with to_be_had(repo, settings), tempfile.TemporaryDirectory() as cache:
        if settings.mirror:
            return datasets.load_dataset(copy(repo, settings), name, split=split, cache_dir=cache, keep_in_memory=True)
        return datasets.load_dataset(repo, name, split=split, revision=revision or REVISIONS[repo])


def names(repo: str, settings: data_params.Published, revision: str | None = None) -> list[str]:
    """The configurations of a data set. Raises StudyError where it is not to be had."""
    with to_be_had(repo, settings):
        if settings.mirror:
            return datasets.get_dataset_config_names(copy(repo, settings))
        return datasets.get_dataset_config_names(repo, revision=revision or REVISIONS[repo])


def place(repo: str, settings: data_params.Published) -> Path:
    """Where the mirror has a data set."""
    return Path(settings.mirror).resolve() / repo


def copy(repo: str, settings: data_params.Published) -> str:
    """The same for `datasets`."""
    return str(place(repo, settings))


def copies_read(settings: data_params.Published) -> str:
    """Which copies a mirror has, as the stage `mirror` found them: half-done work on others is not taken up again."""
    return paths.MIRROR.read_text(encoding="utf8") if settings.mirror and paths.MIRROR.exists() else ""


@contextmanager
def to_be_had(repo: str, settings: data_params.Published) -> Iterator[None]:
    """Failures to load it as one line."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # of any kind: datasets, pyarrow and lm-eval's templates have a dozen for broken data
        place = f"the mirror {settings.mirror}" if settings.mirror else "the hub"
        raise StudyError(
            f"{repo}: not to be had from {place} ({' '.join(str(error).split())}); set published.mirror in params.yaml "
            "to a folder that holds copies of the hub's data sets, or to null to ask the hub"
        ) from None
