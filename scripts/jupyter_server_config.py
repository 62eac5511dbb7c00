"""JupyterLab for `make lab`: saved notebooks carry no outputs, kernels start in the project's folder."""

import json
import subprocess
import sys
from pathlib import Path

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

ROOT = Path(__file__).resolve().parents[1]


def strip_outputs(model: dict, **_: object) -> None:
    """Pass a notebook through nbstripout before it is saved, just as `make test` will check it."""
    if model["type"] == "notebook":
        command = [sys.executable, "-m", "nbstripout"]
        done = subprocess.run(command, input=json.dumps(model["content"]), capture_output=True, text=True, check=True)
        model["content"] = json.loads(done.stdout)


class KernelsInRoot(AsyncMappingKernelManager):
    """Start every kernel in the project's folder, where papermill starts them: relative paths then mean the same."""

    def cwd_for_path(self, path: str, **_: object) -> str:
        return str(ROOT)


c = get_config()  # noqa: F821 (Jupyter defines it)
c.FileContentsManager.pre_save_hook = strip_outputs
c.ServerApp.kernel_manager_class = KernelsInRoot
c.ServerApp.root_dir = str(ROOT)
c.LabApp.default_url = "/lab/tree/notebooks"
