import gc
from pathlib import Path

import nbformat
import pytest

from solid_utils.core import execute, paths
from solid_utils.core.errors import StudyError
from tests.links import dead


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def notebook(name, code, parameters="model = 'a'", of_no_run="", markdown=""):
    cell = nbformat.v4.new_code_cell(parameters)
    cell.metadata["tags"] = ["parameters"]
    execute.STRIPPED.mkdir(parents=True, exist_ok=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [cell, nbformat.v4.new_code_cell(of_no_run), nbformat.v4.new_code_cell(code)]
    cells[1].metadata["tags"] = ["once"]
    cells += [nbformat.v4.new_markdown_cell(markdown)] * bool(markdown)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), execute.STRIPPED / f"{name}.ipynb")


def test_parameters_reach_the_notebook_and_a_copy_is_kept(monkeypatch):
    monkeypatch.setenv(paths.LAB_NAMED, "lab")  # from a terminal of JupyterLab: a stage falls back to nothing
    write = "open('out.txt', 'a').write(model)"
    told = "\nimport gc, os\nopen('gc.txt', 'w').write(str(gc.get_threshold()))"
    told += f"\nassert '{paths.LAB_NAMED}' not in os.environ"
    notebook("good", write + told, "model = 'a'\nrun = 'own'", of_no_run=write)
    execute.run("good", {"model": "b", "run": "other"})
    assert Path("out.txt").read_text() == "b", "not by the cell of no run, too"
    assert Path("gc.txt").read_text() == str(gc.get_threshold()) and gc.get_threshold()[2] == 200
    assert (execute.EXECUTED / "good-b-other.ipynb").exists() and (execute.EXECUTED / "good-b-other.html").exists()
    assert execute.TIMINGS.read_text().startswith("good-b-other,")


def test_links_of_the_copy_resolve_and_the_last_notebook_has_no_next_one():
    for name in ("01_one", "02_two"):
        notebook(name, "1", markdown="[the course](../docs/course.md)")
    for name in ("01_one", "02_two"):
        execute.run(name, {})
    for made in ("docs/course.md", "results/report.html"):
        Path(made).parent.mkdir()
        Path(made).write_text("")
    assert dead(sorted(execute.EXECUTED.resolve().glob("*.html"))) == []
    assert "index.html#02" in (execute.EXECUTED / "01_one.html").read_text()
    assert "Next notebook" not in (execute.EXECUTED / "02_two.html").read_text()
    assert "(../../docs/course.md)" in (execute.EXECUTED / "01_one.ipynb").read_text()


def test_an_unknown_parameter_is_an_error_not_a_warning():
    notebook("good", "1")
    with pytest.raises(StudyError, match="no parameter 'modle'; its `parameters` cell has model"):
        execute.run("good", {"modle": "b"})


def test_errors_of_a_notebook_get_one_line():
    notebook(
        "bad", "from solid_utils.core.errors import StudyError\nraise StudyError('params.yaml: x: wrong; mend it')"
    )
    with pytest.raises(StudyError, match="^params.yaml: x: wrong; mend it$"):
        execute.run("bad", {})
    notebook("broken", "1 / 0")
    with pytest.raises(StudyError, match="broken: ZeroDivisionError: division by zero; the traceback stands in"):
        execute.run("broken", {})


def test_a_failed_run_leaves_the_older_copy():
    notebook("one", "1")
    execute.run("one", {})
    before = (execute.EXECUTED / "one.ipynb").read_bytes()
    notebook("one", "1 / 0")
    with pytest.raises(StudyError, match="the traceback stands in build/executed/one.failed.ipynb"):
        execute.run("one", {})
    assert (execute.EXECUTED / "one.ipynb").read_bytes() == before
    assert "ZeroDivisionError" in (execute.EXECUTED / "one.failed.ipynb").read_text()


def test_a_kernel_that_is_killed_is_one_line():
    notebook("dies", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(
        StudyError, match="dies: its kernel died, probably out of memory; lower device_tokens, batch or"
    ):
        execute.run("dies", {})


def test_ctrl_c_in_the_kernel_is_ctrl_c():
    notebook("long", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        execute.run("long", {})


def test_a_missing_notebook():
    with pytest.raises(StudyError, match="run `dvc repro notebooks`"):
        execute.run("none", {})
