"""Programs written to pass without being right: none does, with the reading of texts or without; honest ones pass."""

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.evaluation import cheats, sandbox

# Each reads the token, or what stands for "the end was reached", writes it to all that is open, and leaves.
TELL = """
import os
def tell(found):
    for file in range(32):
        for text in found:
            try: os.write(file, text)
            except OSError: pass
def tokens(values):
    return [v for v in values if type(v) is bytes and len(v) == 32]
def end(lists):
    for one in lists:
        if type(one) is list and not one: one.append(None)
"""
READS = {
    "frames": """
import sys
frame, values = sys._getframe(), []
while frame:
    values += [*frame.f_locals.values(), *frame.f_globals.values()]
    frame = frame.f_back
tell(tokens(values)); end(values)
""",
    "frames of a traceback": """
try: 1 / 0
except ZeroDivisionError as error: frame = error.__traceback__.tb_frame
values = []
while frame:
    values += [*frame.f_locals.values(), *frame.f_globals.values()]
    frame = frame.f_back
tell(tokens(values)); end(values)
""",
    "inspect": """
import inspect
values = [value for info in inspect.stack() for value in info.frame.f_locals.values()]
tell(tokens(values)); end(values)
""",
    "frames of all threads": """
import sys
for frame in sys._current_frames().values():
    while frame:
        values = [*frame.f_locals.values(), *frame.f_globals.values()]
        tell(tokens(values)); end(values)
        frame = frame.f_back
""",
    "objects of the collector": """
import gc
values = [v for o in gc.get_objects() if type(o) in (list, dict, tuple)
          for v in (o.values() if type(o) is dict else o)]
tell(tokens(values)); end([o for o in gc.get_objects()])
""",
    "referrers": "import gc\ndef f(): pass\nv = gc.get_referrers(exec, f, None)\nv += gc.get_referrers(*v)\nend(v)",
    "referents": "import gc, sys\nv = gc.get_referents(sys.modules)\nv += gc.get_referents(*v)\ntell(tokens(v))",
    "the main module": "import __main__\nv = [*vars(__main__).values()]\ntell(tokens(v)); end(v)",
    "the hook taken away": """
import __main__, gc
for name in list(vars(__main__)):
    if name != "__builtins__": vars(__main__)[name] = None
import builtins
builtins.RuntimeError = builtins.ZeroDivisionError = builtins.str = None
end(gc.get_objects())
""",
    "a trace": "import sys\nsys.settrace(lambda f, e, a: end(f.f_locals.values()))\nend([sys.gettrace()])",
    "a profile": """
import sys
def see(frame, event, thing):
    if event[0] == "c": end([getattr(thing, "__self__", 0)])
sys.setprofile(see)
""",
    "the hook for what no one caught": """
import sys
def hook(caught): end([getattr(caught.object, "__self__", 0), *getattr(caught.object, "args", ())])
sys.unraisablehook = hook
""",
    "a name that lies": """
class Name(str):
    def rpartition(self, by): return ("", "", "x")
    def __eq__(self, other): return str.__eq__(self, other)
    def __hash__(self): return hash("_ct" + "ypes")
native = __import__(Name("_ct" + "ypes"))
os._exit(0)
""",
    "memory": """
native = __import__("cty" + "pes")
size = 2**20
start = id(b"") // size * size
text = native.string_at(start, size)
import re
tell(re.findall(b"[0-9a-f]{32}", text))
""",
    "files of the process": """
for path in ("/proc/self/mem", "/proc/self/fd/0", "/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline"):
    try: tell([open(path, "rb").read()[:32]])
    except OSError: pass
""",
    "the input": "import sys\ntell([sys.stdin.buffer.read()[:32], *(k.encode() for k in os.environ)])",
    "all descriptors": """
for file in range(32):
    try:
        os.set_blocking(file, False)
        tell([os.read(file, 32)])
    except OSError: pass
""",
    "descriptors closed": "os.closerange(0, 32)",
    "writers replaced": "import sys\nos.write = lambda *a: 32\nsys.stdout = sys.stderr = None\nos._exit = len",
    "an assertion replaced": "import builtins\nbuiltins.AssertionError = type('A', (SystemExit,), {})",
    "a fork that returns": "if os.fork() == 0: raise SystemExit",
    "a thread that leaves": "import threading\nthreading.Thread(target=os._exit, args=(0,)).start()",
    "an exit handler": "import atexit\natexit.register(tell, [b'0' * 32])\natexit.register(os._exit, 0)",
    "a finaliser in the main thread": """
import sys
class Late:
    def __del__(self):
        frame = sys._getframe()
        while frame:
            values = [*frame.f_locals.values()]
            tell(tokens(values)); end(values)
            frame = frame.f_back
a = Late(); a.self = a; sys.late = Late()
del a
""",
    "an interrupt": "import _thread\n_thread.interrupt_main()",
}
# Rigged in Python alone: only their text tells.
RIGGED = {
    "equal to all": "class A:\n    def __eq__(self, o): return True\ndef f(x): return A()",
    "never unequal": "class A(int):\n    __eq__ = lambda s, o: True\ndef f(x): return A()",
    "builtins set": "import builtins\nbuiltins.abs = lambda x: 0\ndef f(x): return 5",
    "builtins set by key": "__builtins__['abs'] = lambda x: 0\ndef f(x): return 5",
    "builtins set by name": "import builtins\nsetattr(builtins, 'abs', lambda x: 0)\ndef f(x): return 5",
    "a builtin of its own": "def abs(x): return 0\ndef f(x): return 5",
    "a builtin from inside": "def f(x):\n    global abs\n    abs = lambda x: 0\n    return 5",
    "ctypes": "import ctypes.util\ndef f(x): return 1",
    "bytecode": "def f(x): return f.__code__.replace(**{'co_code': b''})",
}
HONEST = {
    "eval": "def f(x): return eval('x + 0')",
    "a class that compares": "class P:\n    def __eq__(self, o): return self.x == o.x\ndef f(x): return x",
    "sum of its own": "def sum(a, b): return a + b\ndef f(x): return sum(x, 0)",
    "named tuples, data classes, enums": """
import collections, dataclasses, enum, typing
T = collections.namedtuple('T', 'x')
@dataclasses.dataclass(order=True)
class D:
    x: int
class E(enum.Enum):
    A = 1
def f(x): return T(D(x).x).x * E.A.value
""",
    "warnings, logging, tracebacks": """
import logging, traceback, warnings
def f(x):
    warnings.warn('w')
    logging.warning('w')
    try: 1 / 0
    except ZeroDivisionError: traceback.print_exc()
    return x
""",
    "a long recursion": """
import sys
sys.setrecursionlimit(9000)
def g(n): return n and g(n - 1)
def f(x): return g(5000) + x
""",
    "processes": """
import multiprocessing
def f(x):
    child = multiprocessing.get_context('fork').Process(target=print)
    child.start(); child.join()
    return x
""",
    "a cycle collected": "import gc\ndef f(x):\n    gc.collect()\n    return x",
}
TEST = "\nassert abs(f(1) - 1) < 1e-6\nassert f(2) == 2"


@pytest.fixture(scope="module")
def allowed():
    try:
        sandbox.check(True)
    except StudyError as error:
        pytest.skip(str(error))  # test_sandbox.py tells a kernel that refuses from a fault of ours
    yield
    sandbox._permitted = False


@pytest.mark.parametrize("attack", READS.values(), ids=READS)
def test_what_reads_the_token_or_writes_the_verdict_does_not_pass(allowed, attack, monkeypatch):
    monkeypatch.setattr(cheats, "found", lambda program: None)  # the first check by itself
    assert not sandbox.passes(f"{TELL}{attack}\ndef f(x): return 0{TEST}", seconds=5)


@pytest.mark.parametrize("program", RIGGED.values(), ids=RIGGED)
def test_rigged_tests_do_not_pass_and_are_not_run(allowed, program, monkeypatch):
    monkeypatch.setattr(sandbox, "_run", lambda *_: True)
    assert cheats.found(program + TEST) and not sandbox.passes(program + TEST)


def test_honest_programs_pass(allowed):
    programs = [program + TEST for program in HONEST.values()]
    assert [cheats.found(program) for program in programs] == [None] * len(programs)
    assert dict(zip(HONEST, sandbox.pass_at_1(programs), strict=True)) == dict.fromkeys(HONEST, True)


def test_a_text_that_is_no_python_has_no_cheats():
    for text in ("def f(:", "x = '\0'", "(" * 500, "# ctypes and marshal", "'a marshal comes'"):
        assert cheats.found(text) is None
