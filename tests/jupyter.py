"""JupyterLab as `make lab` starts it, in a browser: a notebook is opened and run from the menu, as a person does.

    python -m tests.jupyter CLONE [NOTEBOOK ...] [--model NAME]     by hand, minutes: every notebook, a line each

CLONE is a copy in which a study or `make lab` ran; `--model` is written into the cell of parameters before the run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from solid_utils.core import paths
from tests.browser import Browser, browser

START = 60  # seconds until JupyterLab answers, or a notebook stands there with its kernel
RUN_MENU, RUN_ALL = "Run", "runmenu:run-all"
# What is open, for whoever asks (LabApp.expose_app_in_browser).
OPENED = "[...window.jupyterapp?.shell.widgets('main') ?? []].find(one => one.context?.path.endsWith('.ipynb'))"
READY = f"{OPENED}?.context.isReady && {OPENED}.context.sessionContext.session?.kernel?.status == 'idle'"
CELLS = (
    f"{OPENED}.content.widgets.filter(cell => cell.model.type == 'code').map(cell => "
    "[cell.model.id, cell.model.executionCount, cell.model.outputs.toJSON()])"
)


class Cell(NamedTuple):
    """A code cell after its run; `count` None where it did not run."""

    id: str
    count: int | None
    outputs: list[dict]

    @property
    def error(self) -> str:
        """The last line of its error, empty without one."""
        found = [one for one in self.outputs if one["output_type"] == "error"]
        return f"{found[0]['ename']}: {found[0]['evalue']}" if found else ""

    @property
    def text(self) -> str:
        return "".join("".join(one["text"]) for one in self.outputs if one["output_type"] == "stream")


@contextmanager
def jupyterlab(top: Path) -> Iterator[str]:
    """The address of a JupyterLab on the notebooks of a clone, with nothing of the user's own settings."""
    with tempfile.TemporaryDirectory() as own:
        kept = {name: own for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
        environment = os.environ | kept | {paths.LAB_NAMED: str((top / paths.LAB).absolute())}
        command = [sys.executable, "-m", "jupyterlab", "--config=scripts/jupyter_server_config.py", "--no-browser"]
        command += ["--allow-root", "--ServerApp.port=0", "--LabApp.expose_app_in_browser=True"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=top, env=environment, **quiet) as server:
            try:
                yield _address(Path(own), server)
            finally:
                server.terminate()


def _address(runtime: Path, server: subprocess.Popen) -> str:
    """Where the server listens, with its token, which it writes down when it is ready."""
    until = time.monotonic() + START
    while time.monotonic() < until and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            said = json.loads(path.read_text() or "{}")
            if said:
                return f"{said['url']}lab/tree/{{}}?reset&token={said['token']}"
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start: {server.poll()}")


def run_all(tab: Browser, url: str, seconds: float, model: str = "") -> list[Cell]:
    """Open a notebook, take Run > Run All Cells from the menu; its code cells as they stand at the end."""
    tab.ask("Emulation.setFocusEmulationEnabled", enabled=True)  # a menu opens in the window that has the focus
    tab.go(url)
    _until(tab, READY, START)
    if model:
        line = f"model = {json.dumps(model)}"
        cell = f"{OPENED}.content.widgets.find(cell => cell.model.getMetadata('tags')?.includes('parameters')).model"
        shared = f"{cell}.sharedModel"
        tab.value(f"{shared}.setSource({shared}.getSource().replace(/^model = .*$/m, {json.dumps(line)}))")
    _click(tab, f"[...document.querySelectorAll('.lm-MenuBar-item')].find(one => one.innerText == '{RUN_MENU}')")
    _click(tab, f"document.querySelector('.lm-Menu-item[data-command=\"{RUN_ALL}\"]')")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        cells = [Cell(*one) for one in tab.value(CELLS)]
        if any(cell.error for cell in cells) or all(cell.count for cell in cells):
            return cells
        time.sleep(0.3)
    raise AssertionError(f"{url}: not done after {seconds} s")


def alone(address: str, name: str, seconds: float, model: str = "") -> list[Cell]:
    """`run_all` in a browser of its own: one that shows a changed notebook asks before it leaves it."""
    # A helper of the browser in a session of its own may still write into the profile as it is deleted.
    own = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with own as profile, browser(Path(profile)) as tab:
        tab.size(1300, 900)
        return run_all(tab, address.format(f"notebooks/{name}"), seconds, model)


def _until(tab: Browser, condition: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not tab.value(condition):
        assert time.monotonic() < until, condition
        time.sleep(0.2)


def _click(tab: Browser, element: str) -> None:
    """Press the mouse over an element, which is waited for."""
    box = f"({element})?.getBoundingClientRect().toJSON()"
    _until(tab, f"({element}) != null", START)
    place = tab.value(box)
    where = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2}
    tab.ask("Input.dispatchMouseEvent", type="mouseMoved", **where)
    for kind in ("mousePressed", "mouseReleased"):
        tab.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)


def main() -> int:
    """A line a notebook; status 1 where one has an error."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("clone", type=Path)
    asked.add_argument("notebooks", nargs="*")
    asked.add_argument("--model", default="")
    given = asked.parse_args()
    names = given.notebooks or sorted(path.name for path in (given.clone / "notebooks").glob("0?_*.ipynb"))
    wrong = 0
    with jupyterlab(given.clone) as address:
        for name in names:
            begun = time.monotonic()
            cells = alone(address, name, 900, given.model)
            errors = [f"cell {cell.id}: {cell.error}" for cell in cells if cell.error]
            wrong += bool(errors)
            words = [cell.text.splitlines()[-1] for cell in cells if cell.text]
            said = errors[0] if errors else f"says at last: {words[-1]}"
            print(f"{name}: {len(cells)} cells, {time.monotonic() - begun:.0f} s, {said}", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
