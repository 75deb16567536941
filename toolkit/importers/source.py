"""A foreign file: its bytes, unpacked where they are gzip, and words for what is wrong with it."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from toolkit.errors import InputError

__all__ = ["Source"]

BLOCK = 1 << 20
_HEAD = 1 << 16
_GZIP = b"\x1f\x8b"
_ENDINGS = (
    ".gz",
    *(".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".pftrace", ".perfetto-trace"),
    *(".chrome_trace", ".trace", ".pt"),
)


class Source:
    """A file to import, which is there, readable and not empty.

    Raises `InputError` where it is not, and later where its gzip is damaged.
    """

    def __init__(self, file: Path | str) -> None:
        """Look at the beginning of `file`."""
        self.path = Path(file)
        if self.path.is_dir():
            raise self.wrong("", "expected a file", "a folder", "name the trace in it")
        try:
            with self.path.open("rb") as raw:
                self.packed = raw.read(2) == _GZIP
        except FileNotFoundError:
            raise self.wrong("", "expected a file", "nothing of that name") from None
        except OSError as error:
            got = error.strerror or str(error)
            raise self.wrong("", "expected a file that can be read", got) from None
        if not self.head:
            raise self.wrong("", "expected a trace", "an empty file")

    def __repr__(self) -> str:
        return f"Source({str(self.path)!r})"

    @property
    def stem(self) -> str:
        """Name of the file without what its format adds."""
        name = self.path.name
        for ending in _ENDINGS:
            name = name.removesuffix(ending)
        return name

    @cached_property
    def head(self) -> bytes:
        """The first 64 KiB, unpacked."""
        whole = b""
        for block in self.blocks(_HEAD):
            whole += block
            if len(whole) >= _HEAD:
                break
        return whole[:_HEAD]

    @cached_property
    def sha256(self) -> str:
        """Hash of the file as it is on disk."""
        with self.path.open("rb") as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Yield the bytes of the file, unpacked, `size` at a time."""
        with self.path.open("rb") as raw, gzip.open(raw) if self.packed else raw as file:
            done = 0
            while True:
                try:
                    block: bytes = file.read(size)
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    raise self.wrong(
                        f"after {done} bytes unpacked",
                        "expected a whole gzip file",
                        f"one cut short or damaged ({error})",
                        "fetch or write the file again",
                    ) from None
                except OSError as error:
                    got = error.strerror or str(error)
                    raise self.wrong("", "expected a file that can be read", got) from None
                if not block:
                    return
                done += len(block)
                yield block

    def text(self, size: int = BLOCK) -> Iterator[str]:
        """Yield the file as text, a leading byte order mark dropped."""
        decoder, done, line = codecs.getincrementaldecoder("utf-8")(), 0, 1
        for block in self.blocks(size):
            text = self._decoded(decoder, block, done, line, final=False)
            yield text if done else text.removeprefix("\ufeff")
            done += len(block)
            line += block.count(b"\n")
        self._decoded(decoder, b"", done, line, final=True)

    def _decoded(
        self, decoder: codecs.IncrementalDecoder, block: bytes, done: int, line: int, *, final: bool
    ) -> str:
        try:
            return decoder.decode(block, final)
        except UnicodeDecodeError as error:
            at = done + error.start
            line += error.object[: error.start].count(b"\n")
            raise self.wrong(
                f"line {line}, byte {at}",
                "expected text in UTF-8",
                f"byte 0x{error.object[error.start]:02x}",
                "save the file as UTF-8, or name its kind with --from",
            ) from None

    def wrong(self, where: str, expected: str, got: str = "", way_out: str = "") -> InputError:
        """Return the error for one thing wrong with the file."""
        return InputError.one(str(self.path), where, expected, got, way_out)
