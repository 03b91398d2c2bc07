"""In a real Jupyter kernel: the preview as HTML, progress as one line of text that goes away."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The client logs the cells, so that the token has to come another way.
SETUP = """
import os, seakernel
cursor = seakernel.connect(*os.environ["NOTEBOOK_PLACE"].split()).cursor()
"""


@pytest.fixture(scope="module")
def tardy() -> Iterator[LocalWarehouse]:
    """A warehouse whose results take 2.5 s."""
    late = {"on": "download", "chunk_index": 3, "times": "always", "do": {"delay": {"ms": 2500}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[late]) as warehouse:
        yield warehouse


@pytest.fixture
def run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[list[Any], list[Any]]]]:
    """Runs cells; returns for each what is left of its output, and every message that it sent."""
    import nbformat
    from nbclient import NotebookClient

    # Nothing of this machine's settings, and none of its kernels: this Python is the kernel.
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))

    class Client(NotebookClient):  # type: ignore[misc]
        sent: list[Any]

        def process_message(self, message: Any, cell: Any, cell_index: int) -> Any:
            self.sent.append(message)
            return super().process_message(message, cell, cell_index)

    def run(warehouse: LocalWarehouse, *sources: str) -> list[tuple[list[Any], list[Any]]]:
        place = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
        monkeypatch.setenv("NOTEBOOK_PLACE", " ".join(place))
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *sources)])
        client = Client(notebook, timeout=60)
        done = []
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                client.sent = []
                client.execute_cell(cell, index)
                done.append((cell.outputs, client.sent))
        return done[1:]

    return run


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cell_shows_the_preview_and_the_next_one_has_all_rows(
    run: Callable[..., Any], chunked: LocalWarehouse
) -> None:
    preview, rows = run(chunked, "cursor.execute('SELECT id FROM range(5000)')", "print(len(cursor.fetchall()))")
    (output,) = preview[0]
    assert output.output_type == "execute_result"
    assert output.data["text/html"].count("<tr>") == 1 + 10
    assert "open, 5,000 rows, 1 column" in output.data["text/html"]
    assert output.data["text/plain"].splitlines()[1].strip() == "id"
    assert [output.text for output in rows[0]] == ["5000\n"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_progress_is_a_line_that_goes_away(run: Callable[..., Any], tardy: LocalWarehouse) -> None:
    ((left, sent),) = run(tardy, "rows = len(cursor.execute('SELECT id FROM range(5000)').fetchall())")
    lines = [
        message["content"]["data"]["text/plain"] for message in sent if message["msg_type"] == "update_display_data"
    ]
    assert len(lines) >= 5
    assert lines[0].startswith("fetching 1 s, 3,000 of 5,000 rows")
    assert [output.data for output in left] == [{"text/plain": ""}]
    # Neither rich nor tqdm draws here, installed or not: both would want ipywidgets.
    assert {message["msg_type"] for message in sent} <= {
        "status",
        "execute_input",
        "display_data",
        "update_display_data",
        "execute_reply",
    }
