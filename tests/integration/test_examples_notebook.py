"""The notebook in examples/: its cells run in order, in a Python of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def cells(kind: str) -> list[str]:
    return [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


@pytest.mark.slow("searches, retrains and loads a model, each in a process of its own")
def test_the_notebook_runs_from_its_first_to_its_last_cell(tmp_path: Path) -> None:
    script = "\n".join(cells("code")) + "\nprint(len(plt.get_fignums()), 'figures')\n"
    (tmp_path / "notebook.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "notebook.py"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "study 'notebook': 2 trials: 2 complete" in done.stdout
    assert "COMPLETE" in done.stdout
    assert "are wrong" in done.stdout
    assert done.stdout.endswith("2 figures\n")


def test_the_notebook_is_stored_without_results_and_leads_to_pages_that_exist() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    links = [part.split(")")[0] for text in cells("markdown") for part in text.split("](")[1:]]
    assert all((NOTEBOOK.parent / link).is_file() for link in links if "://" not in link)
