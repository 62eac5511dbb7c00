"""What ends a command is one line on stderr and a status that is not 0."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from solid_utils.core.errors import StudyError, one_line

LONG = "from solid_utils.core.errors import one_line\nwith one_line():\n    "


@pytest.mark.parametrize(
    "error, status, line",
    [
        (StudyError("a: b; c"), 2, "a: b; c"),
        (KeyboardInterrupt(), 130, "interrupted; what was written is whole, start again to go on"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, "output: its reader has gone (a closed pipe); read all of"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), 2, "a: No space left on device; free some disk space"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), 2, "a: Permission denied; allow this user to use it"),
        (OSError(errno.EROFS, "Read-only file system"), 2, "system: Read-only file system; allow this user"),
        (OSError("two\nlines"), 2, "system: two lines; mend that and start again"),
        (OSError(), 2, "system: OSError; mend that and start again"),
    ],
)
def test_what_ends_a_command_is_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as ended, one_line():
        raise error
    told = capsys.readouterr().err
    assert ended.value.code == status and told.startswith(f"error: {line}") and told.count("\n") == 1


def test_a_status_of_its_own_and_a_mistake_in_the_code_pass():
    with pytest.raises(SystemExit) as ended, one_line():
        raise SystemExit(1)
    assert ended.value.code == 1
    with pytest.raises(ZeroDivisionError), one_line():
        raise ZeroDivisionError


@pytest.mark.parametrize("code", ["print('a\\n' * 99999)", "print('a')", "print('a'); raise SystemExit(0)"])
def test_a_closed_pipe_is_one_line(code):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", LONG + code], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 141 and done.stderr.startswith("error: output: its reader has gone"), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_full_disk_under_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", LONG + "print('a')"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "No space left on device; free some disk space" in done.stderr


@pytest.mark.parametrize("moment", ["imports", "works"])
def test_ctrl_c_is_one_line(moment, tmp_path):
    """Before `one_line` begins, where only the hook sees it, and after."""
    ready = f"open({str(tmp_path / 'ready')!r}, 'w').close(); import time; time.sleep(60)"
    if moment == "imports":
        (tmp_path / "pandas.py").write_text(ready)
        command = [sys.executable, "-m", "solid_utils.report"]
    else:
        command = [sys.executable, "-c", LONG + ready]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    # Started in the background, these tests ignore Ctrl-C, and so would their children.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **heard)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and told.startswith("error: interrupted") and told.count("\n") == 1, told


def test_in_a_program_of_someone_else_s_nothing_is_hooked():
    code = "import sys, solid_utils; assert sys.excepthook is sys.__excepthook__"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
