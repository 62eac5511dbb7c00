"""Many runs over several cards by the queue of DVC, as docs/gpu.md says: half a minute, only where it is asked for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Each of two stages waits for the other, so that they end only where two workers run at once.
STAGES = """stages:
  attack:
    matrix: {run: [one, two]}
    cmd: >-
      sh -c 'touch MEET/${item.run}; for i in $(seq 300); do [ -e MEET/one -a -e MEET/two ] && break; sleep 0.2; done;
      echo $CARD > ${item.run}'
    deps: [texts]
    outs: ["${item.run}"]
"""


def call(folder: Path, *command: str, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"} | variables
    said = folder.parent / "said"  # a file: a worker inherits what it is started with, and would keep a pipe open
    with said.open("w") as file:
        subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=file, check=True, timeout=120)
    return said.read_text()


@pytest.mark.skipif("SOLID_QUEUE" not in os.environ, reason="half a minute; SOLID_QUEUE=1 asks for it")
def test_two_workers_of_the_queue_take_a_run_each_and_repro_finds_both_done(tmp_path):
    clone, meet = tmp_path / "clone", tmp_path / "meet"
    clone.mkdir()
    meet.mkdir()
    call(clone, "git", "init", "-q")
    for name, value in (("user.name", "test"), ("user.email", "test@example.org")):
        call(clone, "git", "config", name, value)
    call(clone, "dvc", "init", "-q")
    (clone / "dvc.yaml").write_text(STAGES.replace("MEET", str(meet)))
    (clone / "texts").write_text("what a run depends on")
    call(clone, "git", "add", "-A")
    call(clone, "git", "commit", "-qm", "toy")
    for run in ("one", "two"):
        call(clone, "dvc", "exp", "run", "--queue", "--name", run, f"attack@{run}")
    for card in ("0", "1"):  # a worker more each time, with its own card
        call(clone, "dvc", "queue", "start", "--jobs", str(int(card) + 1), CARD=card)
    for _ in range(60):
        if call(clone, "dvc", "queue", "status").count("Success") == 2:
            break
        time.sleep(2)
    told = call(clone, "dvc", "repro")
    assert told.count("is cached - skipping run") == 2, told
    assert {(clone / run).read_text().strip() for run in ("one", "two")} == {"0", "1"}
