"""Training of one attack in several processes, where `parallel` in its model's section of params.yaml asks for them.

A notebook's kernel is one process, so it starts the others and shows what they print; all that they make lies in the
state folder: histories, replicas, checkpoints. By hand, from the top of the repository:

    python -m torch.distributed.run --standalone --nproc_per_node 4 -m solid_utils.attacks.launch MODEL RUN
"""

import os
import subprocess
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import torch

from solid_utils.attacks.run import AttackRun
from solid_utils.core import errors, lock
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator


def train(attack: AttackRun) -> None:
    """Train all seeds of an attack in `parallel.processes` processes; with one nothing is done here.

    Raises StudyError where there are fewer GPUs, or with what ended a process.
    """
    count = attack.parallel.processes
    if count == 1 or attack.trained:
        return
    if (gpus := torch.cuda.device_count()) and gpus < count:
        key = f"models.{attack.model}.parallel.{attack.attack.attack}.processes"
        raise StudyError(f"{key}: {count} asked, {gpus} GPUs there; ask for at most {gpus} in params.yaml")
    attack.forget_victim()
    accelerator.release_memory()  # the processes need it
    options = ["--standalone", "--nproc_per_node", str(count), "-m", "solid_utils.attacks.launch"]
    run([sys.executable, "-m", "torch.distributed.run", *options, attack.model, attack.run], f"attacks.{attack.run}")


def run(command: list[str], what: str) -> None:
    """Run a command and show its output line by line. Raises StudyError when it fails: its own error line, if any.

    When this process is killed, the command's next line finds no reader and ends it too.
    """
    complaint = ""
    # The state folder is this process's; it lets the others in, and they keep it locked should it be killed.
    let_in = {"env": os.environ | {lock.HOLDER: lock.me()}, "pass_fds": lock.descriptors()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes, **let_in) as process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.startswith("error: ") and not complaint:
                    complaint = line.removeprefix("error: ").strip()
        except BaseException:
            process.terminate()  # torch.distributed.run ends its processes
            raise
    if process.returncode:
        ended = f"{what}: a training process ended early (status {process.returncode}), its output stands above; "
        raise StudyError(complaint or ended + "start again, it goes on from the last checkpoint")


def main(model: str, name: str) -> None:
    """One of the processes; only the first one speaks and writes."""
    first = accelerator.processes().is_main_process
    with Path(os.devnull).open("w") as nowhere, nullcontext() if first else redirect_stdout(nowhere):
        attack = AttackRun(model, name)
        for seed in attack.budget.attack.seeds:
            attack.train(seed)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with errors.one_line():
        main(*sys.argv[1:])
