"""JupyterLab in a real browser, run from its menu; for the notebooks of the study: `python -m tests.jupyter`."""

import shutil
from pathlib import Path

import nbformat

from tests import jupyter

ROOT = Path(__file__).parents[2]
CELLS = ["model = 'another'", "import os\nprint(os.getcwd(), model)", "1 / 0", "print('never')"]


def test_run_all_cells_from_the_menu(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "jupyter_server_config.py", tmp_path / "scripts")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "notebooks" / "00_a.ipynb")
    with jupyter.jupyterlab(tmp_path) as address:
        ran = jupyter.alone(address, "00_a.ipynb", 60, model="tiny")
    assert ran[1].text.split() == [str(tmp_path), "tiny"], "the kernel's folder, and the model that was asked for"
    assert [cell.error for cell in ran] == ["", "", "ZeroDivisionError: division by zero", ""]
    assert ran[3].count is None and not ran[3].outputs, "what stands behind an error does not run"
