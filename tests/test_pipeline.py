"""The whole study on a tiny random model, as a newcomer runs it: a fresh clone, `dvc repro`, again, and killed."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "solid_utils"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STUDY = yaml.safe_load((ROOT / "params.yaml").read_text())["study"]
ENTRY = {  # stages that run a module; the others run a notebook
    "fetch": "fetch",
    "sets": "sets",
    "victim": "models",
    "baseline": "baseline",
    "labels": "attacks/oracle",
}
NOTEBOOK = {
    "dd": "01_dd_scoring",
    "scan": "02_transition_scan",
    "attack": "03_attacks",
    "customize": "04_customization",
    "tables": "05_tables",
}


def imported(source: str) -> set[str]:
    """Modules of this package that a piece of code imports, as paths without suffix."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    paths = {
        name.removeprefix("solid_utils").strip(".").replace(".", "/")
        for name in found
        if name.startswith("solid_utils")
    }
    return {path for path in paths if path and ((PACKAGE / f"{path}.py").exists() or (PACKAGE / path).is_dir())}


def closure(modules: set[str]) -> set[str]:
    """All modules reached from the given ones."""
    seen, queue = set(), set(modules)
    while queue:
        module = queue.pop()
        seen.add(module)
        file = PACKAGE / f"{module}.py" if (PACKAGE / f"{module}.py").exists() else PACKAGE / module / "__init__.py"
        queue |= imported(file.read_text()) - seen
    return seen


@pytest.mark.parametrize("stage", [*ENTRY, *NOTEBOOK])
def test_a_stage_depends_on_exactly_the_modules_it_uses(stage):
    if stage in ENTRY:
        used = closure({ENTRY[stage]})
    else:
        cells = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK[stage]}.ipynb", as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        used = closure(imported(code) | {"execute"})
    listed = [str(path) for path in STAGES[stage]["deps"] if str(path).startswith("solid_utils/")]
    if "solid_utils/attacks" in listed:  # the folder stands for its modules
        used = {module for module in used if not module.startswith("attacks")} | {"attacks"}
    if "benchmarks" in used:
        used |= {"tasks"}
    if "paper" in used:
        used |= {"published"}
    files = {path.removeprefix("solid_utils/").removesuffix(".py") for path in listed if not path.endswith(".txt")}
    assert files == used


def test_committed_notebooks_are_clean():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs") and not cell.get("execution_count"), path


def expected_stages(study: dict) -> set[str]:
    """Every stage instance of a study."""
    names = {"notebooks", "fetch", "sets", "tables"}
    for model in study["models"]:
        names |= {f"{stage}@{model}" for stage in ("victim", "baseline", "labels", "dd", "scan")}
        names |= {f"attack@{model}-{run}" for run in study["attacks"]}
        names |= {f"customize@{model}-{run}" for run in study["customizations"]}
    return names


def clone(folder: Path, study: dict | None = None) -> Path:
    """A fresh clone of what is here, committed or not; with `study` it runs that study on the tests' tier."""
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n"):
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    if study:
        raw = yaml.safe_load((folder / "params.yaml").read_text())
        raw |= {"tier": "tiny", "threads": 1, "study": study}
        (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "clone"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def dvc(folder: Path, *arguments: str, **options) -> subprocess.Popen:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        ["dvc", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def repro(folder: Path) -> str:
    process = dvc(folder, "repro")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]
    return output


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def results(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "results").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_fresh_clone_executes_every_stage_of_the_shipped_study(tmp_path):
    """No stage's output is there, in git or in a cache: none can be skipped. (The tiny study below runs all.)"""
    process = dvc(clone(tmp_path / "clone"), "status", "--json")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output[-3000:]
    status = json.loads(output)
    assert expected_stages(STUDY) <= set(status)
    for stage, changes in status.items():
        outs = next(change["changed outs"] for change in changes if "changed outs" in change)
        assert outs and set(outs.values()) <= {"deleted", "not in cache"}, stage


@pytest.mark.pipeline
def test_the_tiny_study_whole_twice_and_killed(tmp_path):
    study = STUDY | {"models": ["tiny"]}
    whole = clone(tmp_path / "whole", study)
    assert ran(repro(whole)) == expected_stages(study)
    first = results(whole)
    assert {"results/report.html", "results/metrics.json"} <= set(first)

    begun = time.monotonic()
    assert not ran(repro(whole)), "a second run is a no-op"
    assert time.monotonic() - begun < 10
    assert results(whole) == first
    changed = subprocess.run(["git", "status", "--porcelain", "data.dvc"], cwd=whole, capture_output=True, text=True)
    assert not changed.stdout, "data.dvc changed"

    # Cold again, with fewer runs, killed inside an attack and started again: the same bytes.
    fewer = study | {"attacks": ["solid-ft_all", "layer0-sem"], "customizations": ["solid-math"]}
    cut = clone(tmp_path / "cut", fewer)
    process = dvc(cut, "repro", start_new_session=True)
    for line in process.stdout:
        if line.startswith("Running stage 'attack@"):
            break
    time.sleep(9)  # inside the first attack's notebook
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the orphaned kernel notices and ends
    assert ran(repro(cut)) < expected_stages(fewer), "what was finished runs again"
    again = {name: content for name, content in results(cut).items() if name.startswith("results/runs/")}
    assert len(again) == 2 + 3 + 1 + 2 * 4 + 3  # victim, dd, scan, two attacks, a customization
    assert [name for name in again if again[name] != first[name]] == [], "a cold, killed and resumed run differs"
