"""One list of dependencies, in pyproject.toml: environment.yml points there, installed versions and imports fit it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = f"{PROJECT['name']}["  # an extra that brings another
BROUGHT = [name for line in EXTRAS["test"] if line.startswith(OWN) for name in Requirement(line).extras]
INSTALLED = PROJECT["dependencies"] + EXTRAS["test"] + [line for name in BROUGHT for line in EXTRAS[name]]
REQUIREMENTS = [Requirement(line) for line in INSTALLED if not line.startswith(OWN)]
# imported, but not pinned: parts of jupyterlab, pytest and jinja2
PARTS = {"jupyter_server", "traitlets", "packaging", "markupsafe"}
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def test_every_dependency_is_pinned():
    extras = [Requirement(line) for lines in EXTRAS.values() for line in lines if not line.startswith(OWN)]
    loose = [str(line) for line in [*REQUIREMENTS, *extras] if not re.fullmatch(r"==[\w.]+", str(line.specifier))]
    assert not loose


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda line: line.name)
def test_installed_version_is_the_pinned_one(requirement):
    assert metadata.version(requirement.name) in requirement.specifier


def test_every_package_whose_functions_are_items_is_pinned():
    """Another version would give other items under the same names."""
    domains = yaml.safe_load((ROOT / "configs" / "domains.yaml").read_text())["domains"]
    listed = [name for domain in domains.values() for key in ("packages", "apart") for name in domain.get(key, [])]
    read = {canonicalize_name(name) for name in listed}
    assert {"networkx", "peft"} <= read and read <= {canonicalize_name(line.name) for line in REQUIREMENTS}


def test_conda_names_no_second_list():
    """Python, pip and tools without a Python module come from conda; everything else from pyproject.toml."""
    *packages, pip = CONDA["dependencies"]
    assert pip == {"pip": ["-e .[test]"]}
    assert packages == ["python=3.11", "pip", "git", "make", "c-compiler"]
    assert CONDA["name"] == PROJECT["name"]


def test_one_python_version():
    python = CONDA["dependencies"][0].removeprefix("python=")
    supported = SpecifierSet(PROJECT["requires-python"])
    assert python in supported
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in supported
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    low, high = re.search(r"\((\d, \d+)\) <= sys.version_info\[:2\] <= \((\d, \d+)\)", setup).groups()
    in_setup = [f"3.{minor}" for minor in range(20) if eval(f"({low}) <= (3, {minor}) <= ({high})")]
    assert in_setup == [f"3.{minor}" for minor in range(20) if f"3.{minor}" in supported]


def imported_modules() -> set[str]:
    """Top-level names of every module that the project's Python files and notebooks import."""
    sources = [
        path.read_text()
        for folder in ("solid_utils", "tests", "benchmarks", "scripts")
        for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        sources += ["\n".join(cell.source for cell in cells if cell.cell_type == "code")]
    found = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_every_import_is_a_declared_dependency():
    declared = {canonicalize_name(line.name) for line in REQUIREMENTS}
    own = (
        set(sys.stdlib_module_names)
        | {"solid_utils", "tests"}
        | PARTS
        | {path.stem for folder in ("tests", "benchmarks") for path in ROOT.glob(f"{folder}/*.py")}
    )
    providers = metadata.packages_distributions()
    undeclared = {
        module
        for module in imported_modules() - own
        if not declared & {canonicalize_name(name) for name in providers.get(module, [])}
    }
    assert not undeclared


def test_the_wheel_holds_all_that_the_rooms_read(tmp_path):
    """Built and installed elsewhere: the study itself installs editable, so a file left out would not be seen."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    shutil.copytree(ROOT / "solid_utils", source / "solid_utils", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel], check=True)
    installed = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site/solid_utils").rglob("*")}
    package = ROOT / "solid_utils"
    wanted = {str(path.relative_to(ROOT)) for path in package.rglob("*") if path.is_file()}
    assert {path for path in wanted if "__pycache__" not in path} <= installed
    reading = (
        "from solid_utils.paper import paper; from solid_utils.report.pages import site; "
        "from solid_utils.tasks import suites; "
        "assert len(paper.published_table(8)) and (suites.TASKS / 'hellaswag.yaml').read_text(); "
        "assert len(list(site.LOOK.iterdir())) > 3; print(paper.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", reading], cwd=tmp_path / "site", capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "site/solid_utils/paper/paper.py"), done.stderr
    scripts = (next((tmp_path / "site").glob("*.dist-info")) / "entry_points.txt").read_text()
    assert "solid-recommend = solid_utils.recommend.recommend:command" in scripts


def lab_config():
    """What `make lab` hands to Jupyter, loaded as Jupyter loads it."""
    from traitlets.config import PyFileConfigLoader

    return PyFileConfigLoader("jupyter_server_config.py", path=str(ROOT / "scripts")).load_config()


def test_lab_saves_no_outputs(tmp_path):
    from jupyter_server.services.contents.filemanager import FileContentsManager

    output = nbformat.v4.new_output("stream", text="42")
    cell = nbformat.v4.new_code_cell("print(42)", outputs=[output], execution_count=7)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    manager = FileContentsManager(root_dir=str(tmp_path), config=lab_config())
    manager.save({"type": "notebook", "format": "json", "content": notebook}, "a.ipynb")
    saved = json.loads((tmp_path / "a.ipynb").read_text())["cells"][0]
    assert saved["outputs"] == [] and saved["execution_count"] is None and saved["source"] == ["print(42)"]
    subprocess.run([sys.executable, "-m", "nbstripout", "--verify", tmp_path / "a.ipynb"], check=True)


def test_lab_kernels_start_in_the_projects_folder():
    manager = lab_config().ServerApp.kernel_manager_class()
    assert manager.cwd_for_path("notebooks/01_dd_scoring.ipynb") == str(ROOT)


def test_telemetry_is_off():
    config = (ROOT / ".dvc" / "config").read_text()
    assert "analytics = false" in config and "check_update = false" in config


def test_the_container_has_a_python_that_fits_and_says_how_it_was_built():
    text = (ROOT / "Containerfile").read_text()
    version = {"bookworm": "3.11"}[re.search(r"^FROM .*/debian:(\w+)-slim$", text, re.MULTILINE)[1]]
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")
    assert re.search(r"apt-get install .* python3-dev python3-venv\b", text)
    assert re.search(r"^# Built once", text, re.MULTILINE)
    artefact = (ROOT / "docs" / "artefact.md").read_text()
    assert "`make test` in it passes" in text and "`make test` passes in it" in artefact
    assert "not seen to their end" not in artefact, "the appendix is told what the file's head says"
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake[\", ]+(setup|test|study)\b", text)) <= targets
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {"build", "checkpoints", "data", "results", ".venv"} <= set(left_out)


@pytest.mark.parametrize("works", [True, False], ids=["of another folder", "broken"])
def test_an_environment_behind_a_link_is_not_emptied(works, tmp_path):
    """`python -m venv --clear` goes through a link and takes all that lies there."""
    theirs = tmp_path / "theirs"
    (theirs / "bin").mkdir(parents=True)
    (theirs / "bin" / "python").symlink_to(sys.executable if works else "/nowhere/python")
    (theirs / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (theirs / ".solid-study").write_text(f"{theirs}\n")  # where it was made
    link = tmp_path / "link"
    link.symlink_to(theirs)
    command = ["bash", str(ROOT / "scripts" / "setup.sh"), str(link)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 2 and "a link to" in made.stderr and "VENV=FOLDER" in made.stderr
    assert sorted(path.name for path in theirs.iterdir()) == [".solid-study", "bin", "pyvenv.cfg"]


def set_up_with(free: int, folder: Path) -> subprocess.CompletedProcess:
    """Set-up of a new environment where `df` finds `free` kB and pip only says that it was called."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "df").write_text(f"#!/bin/sh\necho Filesystem\necho /dev/disk 9 9 {free} 9% /\n")
    (tools / "df").chmod(0o755)
    python = folder / "new" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$*" in *pip*) echo ERROR: pip was called; exit 1;; *torch*) exit 1;; esac\n')
    python.chmod(0o755)
    command = ["bash", str(ROOT / "scripts" / "setup.sh"), str(folder / "new")]
    path = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=path)


@pytest.mark.parametrize(("free", "said"), [(636_000, "636 MB free"), (4_000_000, "pip was called")])
def test_a_full_disk_is_said_before_the_download(free, said, tmp_path):
    done = set_up_with(free, tmp_path)
    assert done.returncode == 2 and said in done.stderr, done.stdout + done.stderr
    assert ("VENV=FOLDER" in done.stderr) == (free < 3_000_000)
    assert not (tmp_path / "new" / ".solid-study").exists(), "nothing says that it was installed"
