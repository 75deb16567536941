"""Traces from elsewhere: foreign files to the store that simulations write.

A file is a :class:`~.source.Source`; a reader of its kind (:mod:`.kinds` lists
them) fills a :class:`~.recording.Recording`; :mod:`.layout` makes the store's
tables of it.  What the source lacks is empty, and the manifest says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from toolkit.errors import InputError, Problem
from toolkit.importers.kinds import KINDS, Kind, recognised
from toolkit.importers.layout import Laid, lay_out
from toolkit.importers.recording import Recording
from toolkit.importers.rules import Rules, load_rules
from toolkit.importers.source import Source
from toolkit.trace import store

__all__ = ["AUTO", "IDS", "KINDS", "read_into"]

AUTO = "auto"
IDS = "request_ids.jsonl"
"""File beside the tables with the source's own ids of requests, where ours are others."""

Finish = Callable[[store.Store, dict[str, Any]], object]


def read_into(
    files: Sequence[Path | str],
    out: Path | str,
    *,
    kind: str = AUTO,
    name: str | None = None,
    rules: Path | str | None = None,
    versions: Mapping[str, str] = MappingProxyType({}),
    finish: Finish | None = None,
) -> Path:
    """Write the store of a foreign trace to ``out/traces/NAME`` and return the folder.

    The folder appears whole or not at all.  `versions`, by package, go into the
    manifest.  `finish` is called with the
    complete store and its manifest before it becomes visible.

    Raises:
        InputError: a file that is not there, damaged, or not of its kind;
            rules that are wrong, or about something else than this kind.
    """
    sources = [Source(file) for file in files]
    kind, reader = _reader(sources, kind)
    said = load_rules(rules) if rules is not None else Rules()
    if rules is not None:
        _refuse_idle_rules(Path(rules), said, kind, reader)
    name = _name(name, sources)
    recording = reader.read(sources, said)
    laid = lay_out(recording, str(sources[0].path))
    manifest = _manifest(name, kind, sources, recording, laid, versions)

    def complete(written: store.Store) -> None:
        if laid.request_ids is not None:
            _write_ids(written.folder / IDS, laid.request_ids)
        if finish is not None:
            finish(written, manifest)

    return store.write(Path(out) / "traces" / name, laid.stream(), manifest, finish=complete)


def _reader(sources: Sequence[Source], kind: str) -> tuple[str, Kind]:
    if not sources:
        raise InputError.one("import", "", "expected a file to import", "none")
    if kind == AUTO:
        kinds = {recognised(source): source for source in sources}
        if len(kinds) > 1:
            said = ", ".join(f"{source.path} ({kind})" for kind, source in kinds.items())
            raise InputError.one("import", "", "expected files of one kind", said)
        kind = next(iter(kinds))
    if kind not in KINDS:
        expected = f"expected one of {', '.join(KINDS)}"
        raise InputError.one("--from", "", expected, repr(kind))
    if len(sources) > 1 and not KINDS[kind].several:
        raise InputError.one(
            str(sources[1].path),
            "",
            f"expected one file: {KINDS[kind].about}",
            f"{len(sources)} files",
            "import them one by one; `toolkit report` puts runs side by side",
        )
    return kind, KINDS[kind]


def _refuse_idle_rules(file: Path, rules: Rules, kind: str, reader: Kind) -> None:
    """Refuse rules that this kind would not look at: silence would look like obedience."""
    given = {
        "track": bool(rules.tracks),
        "span": bool(rules.spans),
        "columns": bool(rules.columns),
        "where": bool(rules.where),
        "args": rules.args != Rules().args,
    }
    idle = [table for table, said in given.items() if said and table not in reader.rules]
    if idle:
        way_out = f"remove it, or name another kind with --from; {kind} is {reader.about}"
        raise InputError(
            str(file),
            [Problem(table, f"does not go with --from {kind}", way_out=way_out) for table in idle],
        )


def _name(name: str | None, sources: Sequence[Source]) -> str:
    chosen = name or sources[0].stem
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in chosen).strip("-.")
    if name is not None and (plain != name or not name):
        expected = "expected a name of letters, digits, points, - and _"
        raise InputError.one("--name", "", expected, repr(name))
    return plain or "imported"


def _manifest(
    name: str,
    kind: str,
    sources: Sequence[Source],
    recording: Recording,
    laid: Laid,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a store says of itself: what it is from and lacks, nothing of when or where."""
    return {
        "name": name,
        "title": recording.title or name,
        "question": None,
        "variant": None,
        "discipline": recording.discipline,
        "level": laid.level,
        "seed": None,
        "scenario": {},
        "source": {
            "kind": kind,
            "about": KINDS[kind].about,
            "files": [{"name": one.path.name, "sha256": one.sha256} for one in sources],
        },
        "end_ns": laid.end_ns,
        "versions": dict(versions),
        "bounds": [],
        "facts": laid.facts,
    }


def _write_ids(file: Path, ids: Sequence[Any]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for key, each in enumerate(ids):
            row = {"request": key, "id": each if isinstance(each, int) else str(each)}
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
