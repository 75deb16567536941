"""A file that appears complete or not at all, compressed when its name says so."""

from __future__ import annotations

import os
import queue
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from toolkit.errors import InputError

__all__ = ["Sink", "replacing"]

Data = bytes | npt.NDArray[np.uint8]

_QUEUE = 2


class Sink:
    """Bytes on their way into a file, compressed and written on a thread of their own."""

    def __init__(self, file: BinaryIO, *, gzip: bool) -> None:
        """Start writing to an open file."""
        # Level 1: 15 bytes a span where level 6 needs 12.6 and thrice the time.
        # 16 asks zlib for a gzip header, which then holds no time.
        self._squeeze = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS) if gzip else None
        self._file = file
        self._queue: queue.Queue[Data | None] = queue.Queue(_QUEUE)
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._drain, name="trace writer", daemon=True)
        self._thread.start()

    def write(self, data: Data) -> None:
        """Take bytes, or an array of them that must not be changed from now on."""
        if self._failure is not None:
            raise self._failure
        if len(data):
            self._queue.put(data)

    def close(self) -> None:
        """Wait until everything is written; raises what went wrong on the way."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _drain(self) -> None:
        """Write until told to stop; after a failure, only empty the queue."""
        while (data := self._queue.get()) is not None:
            if self._failure is None:
                view = memoryview(cast("Any", data))
                self._put(view if self._squeeze is None else self._squeeze.compress(view))
        if self._failure is None and self._squeeze is not None:
            self._put(self._squeeze.flush())

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as failure:  # raised again on the caller's thread
            self._failure = failure


@contextmanager
def replacing(file: Path) -> Iterator[Sink]:
    """Open a file to write that takes the place of `file` when the block ends well.

    A name in ``.gz`` is compressed; the same content gives the same bytes.
    Raises `InputError` when the disk refuses.
    """
    hidden = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        try:
            with hidden.open("wb") as raw:
                sink = Sink(raw, gzip=file.suffix == ".gz")
                try:
                    yield sink
                except BaseException:
                    with suppress(Exception):
                        sink.close()
                    raise
                sink.close()
            hidden.replace(file)
        finally:
            with suppress(OSError):
                hidden.unlink(missing_ok=True)
    except OSError as error:
        raise InputError.one(
            str(file),
            "",
            "expected a file that can be written",
            error.strerror or str(error),
            "make room, or name another file",
        ) from error
