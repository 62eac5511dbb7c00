"""The sandbox for generated code, where this machine's kernel lets one be built."""

import subprocess

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.evaluation import sandbox

# What the jail asks of the kernel. A container without privileges refuses the last part: its /proc/sys is read-only.
ISOLATE = (
    "unshare --user --map-root-user --mount --pid --net --fork "
    "sh -c 'mount -t tmpfs none /mnt && echo 0 > /proc/sys/user/max_user_namespaces'"
)


@pytest.fixture
def allowed():
    """Generated code may run in this test, which is skipped where it cannot be isolated."""
    try:
        sandbox.check(True)
    except StudyError as error:
        if subprocess.run(["sh", "-c", ISOLATE]).returncode == 0:
            raise  # the kernel permits it, so the fault is ours
        pytest.skip(str(error))
    yield
    sandbox._permitted = False
