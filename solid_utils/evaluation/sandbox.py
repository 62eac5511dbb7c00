"""Run generated code (HumanEval, MBPP) where it can do no harm, and only when asked to; jail.py is the inside.

A program runs with the bare interpreter as an unprivileged uid in new user, mount, pid, network, ipc, uts and cgroup
namespaces. It sees the interpreter, its standard library and the C libraries they load, all read-only, and a scratch
folder in memory that goes when it ends; no network, no devices, no /proc. CPU time, wall time, memory, file sizes,
open files and processes are limited. It passes by reaching its end, which writes a fresh random token to a pipe, so
leaving early with status 0 fails. What could read the token, or rig the tests, is refused: before the run by its text
(cheats.py), in the run by an audit hook (jail.py). docs/SECURITY.md says what that does not catch.

All or nothing: where the kernel refuses any part of this, nothing is run and StudyError says so in one line. Needs
Linux 5.14 or later (mount_setattr; process limits that count per user namespace) on x86_64 or aarch64, and either root
or a kernel that lets users make user namespaces.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import sysconfig
from functools import cache, partial
from itertools import islice

from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from solid_utils.core.errors import StudyError
from solid_utils.evaluation import cheats, jail

SECONDS = 10.0  # where code_eval has 3: a verdict should not hang on how busy the machine is
GRACE = 30  # seconds on top for setting up and tearing down on a busy machine
# Reaches its end only where the caller's files are out of sight.
PROBE = f"import os\nassert not os.path.exists({os.path.abspath(__file__)!r})"
_permitted = False


def check(allow: bool) -> None:
    """Permit `passes` in this process. Raises StudyError unless `allow` is True and the isolation is to be had."""
    global _permitted
    _permitted = False
    if allow is not True:  # a text `false` is true to Python
        raise StudyError(f"allow_code: {allow}, so generated code is not run; set it to true to run it in the sandbox")
    _try_once()
    _permitted = True


@cache
def _try_once() -> None:
    if not _run(PROBE, SECONDS):
        raise StudyError(_refusal("a trial program saw the caller's files, or did not reach its end"))


def _refusal(reason: str) -> str:
    return f"allow_code: no isolation here, so no code is run ({reason}); permit user namespaces, or set it to false"


def passes(program: str, seconds: float = SECONDS) -> bool:
    """Whether one whole program (prompt, completion and tests) reaches its end within `seconds` of wall time.

    A program that is made to rig its tests (`cheats.found`) fails without being run.
    Raises StudyError before `check(True)`, or when the isolation fails; nothing is run then.
    """
    if not _permitted:
        raise StudyError("allow_code: generated code runs only after sandbox.check(allow_code)")
    return not cheats.found(program) and _run(program, seconds)


def pass_at_1(programs: list[str], seconds: float = SECONDS) -> list[bool]:
    """`passes` for each program, in order, as many at a time as this process has cores. Raises as `passes` does."""
    bar = {"tqdm_class": tqdm, "desc": "sandbox", "unit": "program", "leave": False, "disable": len(programs) < 2}
    return thread_map(partial(passes, seconds=seconds), programs, max_workers=len(os.sched_getaffinity(0)), **bar)


class CodeEval:
    """Stands in for `evaluate.load("code_eval")` in lm-eval's humaneval and mbpp; no hub, no code outside the sandbox.

    Wall time is SECONDS a program, not code_eval's 3 s: a verdict should not hang on how busy the machine is.
    """

    def compute(
        self, references: list[str], predictions: list[list[str]], k: list[int]
    ) -> tuple[dict[str, float], dict[int, list[bool]]]:
        """({"pass@1": mean over tasks of the share of candidates that pass}, verdicts by task), all in [0, 1].

        `references` are tests, one text a task; `predictions` the task's candidates. With n candidates of which c pass,
        c / n is the unbiased estimate of pass@1 (Chen et al. 2021, arXiv:2107.03374, equation 1).
        Raises StudyError for another k, and as `passes` does.
        """
        if list(k) != [1]:
            raise StudyError(f"code_eval: k = {k}; only pass@1 is built, use a task that asks for k = [1]")
        tasks = list(zip(references, predictions, strict=True))
        verdicts = iter(pass_at_1([f"{code}\n{tests}" for tests, candidates in tasks for code in candidates]))
        details = {task: list(islice(verdicts, len(codes))) for task, (_, codes) in enumerate(tasks)}
        shares = [sum(passed) / len(passed) for passed in details.values()]
        return {"pass@1": sum(shares) / len(shares)}, details


def _run(program: str, seconds: float) -> bool:
    """Run one program in a jail of its own. Raises StudyError when the jail cannot be built."""
    token = secrets.token_hex(jail.TOKEN // 2)
    command = [sys.executable, "-I", "-S", jail.__file__, json.dumps(_plan() | {"seconds": seconds})]
    text = f"{token}\n{program}".encode(errors="replace")
    try:
        done = subprocess.run(command, input=text, capture_output=True, cwd="/", env={}, timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:  # process 1 keeps the program's time, so this is no verdict on the program
        raise StudyError(f"sandbox: no verdict {GRACE} s past the time limit; run again when less is running") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines() or [f"exit status {done.returncode}"]
        raise StudyError(_refusal(lines[-1]))
    return done.stdout == token.encode()


@cache
def _plan() -> dict:
    """What a program may read: the interpreter, its standard library less installed packages, what they link to."""
    python, library = os.path.realpath(sys.executable), os.path.realpath(sysconfig.get_path("stdlib"))
    files = [python, "/etc/ld.so.cache", *_libraries(python, library)]
    paths = [library, *filter(os.path.exists, files)]
    return {
        "python": python,
        "binds": [(os.path.realpath(path), path) for path in paths],
        "hidden": f"{library}/site-packages",
    }


def _libraries(python: str, library: str) -> list[str]:
    """Shared libraries of the interpreter and its extension modules, by the paths that the loader uses, see ldd(1)."""
    modules = [entry.path for entry in os.scandir(f"{library}/lib-dynload") if entry.name.endswith(".so")]
    try:
        listing = subprocess.run(["ldd", python, *modules], capture_output=True, text=True, env={}).stdout
    except FileNotFoundError:
        raise StudyError(_refusal("the command ldd is missing")) from None
    return sorted({os.path.normpath(path) for path in re.findall(r"(/.+) \(0x", listing)})
