"""Run one notebook of the study by papermill: parameters checked, output streamed, one line when it fails.

    python -m solid_utils.core.execute 03_attacks model=smollm2-135m run=solid-ft_all

The executed copy and its HTML land in build/executed; time and peak memory in build/timings.csv, outside results.
"""

import gc
import logging
import os
import resource
import sys
import time
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from solid_utils.core import errors, files, notebook_page, once, paths
from solid_utils.core.errors import StudyError

STRIPPED = Path("build/notebooks")  # without outputs: one saved with them is the same notebook to DVC
EXECUTED = Path("build/executed")
TIMINGS = Path("build/timings.csv")
# tqdm says so when it is first imported, maybe before anything of ours is; a plain bar is what papermill streams.
QUIET = "ignore:IProgress not found"
# A notebook imports torch before the package, whose __init__.py says how often to look for garbage in what is imported.
KERNEL = [f"--IPKernelApp.exec_lines=__import__('gc').set_threshold{gc.get_threshold()}"]


class OutputOnly(logging.Filter):
    """Lets the notebooks' own output through, and drops what papermill says of every cell."""

    CHATTER = (
        "Executing Cell",
        "Ending Cell",
        "Input Notebook",
        "Output Notebook",
        "[IPKernelApp]",
        "Executing notebook",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.CHATTER)


def run(name: str, values: dict[str, str]) -> None:
    """Execute a notebook with the given parameters. Raises StudyError with the notebook's own error, in one line."""
    source = STRIPPED / f"{name}.ipynb"
    if not source.exists():
        raise StudyError(f"{source}: missing; run `dvc repro notebooks`")
    known = papermill.inspect_notebook(source)  # papermill itself only warns at an unknown parameter
    if wrong := sorted(set(values) - set(known)):
        raise StudyError(f"{name}: no parameter '{wrong[0]}'; its `parameters` cell has {', '.join(known) or 'none'}")
    EXECUTED.mkdir(parents=True, exist_ok=True)
    copy = EXECUTED / f"{'-'.join([name, *values.values()])}.ipynb"
    files.refuse(copy)
    failed = copy.with_suffix(".failed.ipynb")  # papermill writes after every cell; an older copy stays until the end
    files.write_text(nbformat.writes(once.for_run(nbformat.read(source, as_version=4), values)), failed)
    begun = time.monotonic()
    os.environ.pop(paths.LAB_NAMED, None)  # a stage reads its own victim, or ends; see model/stand_in.py
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), QUIET]))  # of the kernel
    try:
        how = {"kernel_name": "python3", "log_output": True, "progress_bar": False, "coalesce_streams": True}
        papermill.execute_notebook(failed, failed, values, extra_arguments=KERNEL, **how)
    except papermill.PapermillExecutionError as error:
        raise in_one_line(name, error, failed) from None
    except DeadKernelError:
        raise StudyError(
            f"{name}: its kernel died, probably out of memory; lower device_tokens, batch or length of the tier in "
            f"configs/tiers.yaml; what it said stands in {failed}"
        ) from None
    finally:
        note(copy.stem, time.monotonic() - begun)
    executed = notebook_page.moved(notebook_page.tidied(nbformat.read(failed, as_version=4)))
    files.write_text(notebook_page.page(executed, copy.stem, following(name)), copy.with_suffix(".html"))
    files.write_text(nbformat.writes(executed), copy)
    failed.unlink()
    notebook_page.write_index(EXECUTED)


def following(name: str) -> str:
    """The number of the notebook after this one, "02" after "01_dd_scoring"; empty where there is none."""
    number = f"{int(name[:2]) + 1:02}" if name[:2].isdigit() else ""
    return number if number and any(STRIPPED.glob(f"{number}_*.ipynb")) else ""


def in_one_line(name: str, error: papermill.PapermillExecutionError, where: Path) -> BaseException:
    """What ended a notebook, as it ends this process. Ctrl-C reaches kernel and process, whichever comes first."""
    message = " ".join(error.evalue.split())
    if error.ename == "KeyboardInterrupt":
        return KeyboardInterrupt()
    if error.ename == "StudyError":
        return StudyError(message)
    return StudyError(f"{name}: {error.ename}: {message}; the traceback stands in {where}")


def note(name: str, seconds: float) -> None:
    """Append time and peak memory of the kernel; never part of the results, which are byte-identical between runs."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # the kernel is a child process
    TIMINGS.parent.mkdir(parents=True, exist_ok=True)
    with TIMINGS.open("a") as file:
        file.write(f"{name},{seconds:.0f} s,{peak:.2f} GB\n")
    print(f"{name}: {seconds:.0f} s, at most {peak:.2f} GB", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger().handlers[0].addFilter(OutputOnly())
    for noisy in ("papermill.translators", "papermill.inspection", "traitlets"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with errors.one_line():
        run(sys.argv[1], dict(argument.split("=", 1) for argument in sys.argv[2:]))
