"""Write the generated parts of the documentation: what schemas, tables, views and a run say.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`;
everything else on a page is written by hand.  `just docs` calls this; a test
keeps the pages up to date.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import questions

from toolkit import analytics
from toolkit.analytics.terms import terms as all_terms
from toolkit.analytics.terms import tools
from toolkit.recordings import LAYOUTS
from toolkit.trace.columns import TABLES

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
SCHEMAS = ROOT / "schemas"

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def scenario_keys() -> Iterator[str]:
    """Yield a section per table of a scenario, with a row per key."""
    schema = json.loads((SCHEMAS / "scenario.schema.json").read_text(encoding="utf-8"))
    plain = {key: each for key, each in schema["properties"].items() if "properties" not in each}
    yield "### At the top\n"
    yield from _keys(plain, schema.get("required", ()))
    for name, table in schema["properties"].items():
        if "properties" in table:
            yield from _table(name, table)
        elif name == "failure":
            yield from _table(name, {**table["items"], "description": table["description"]})


def _inner(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tables inside a table, or inside each item of a list of tables."""
    return table if "properties" in table else table.get("items", {})


def _table(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### `[{path}]`: {table['description']}\n"
    yield from _keys(table["properties"], table.get("required", ()))
    for name, inner in table["properties"].items():
        if "properties" in _inner(inner):
            whole = {**_inner(inner), "description": inner["description"]}
            yield from _table(f"{path}.{name}", whole)


def _keys(keys: Mapping[str, Any], required: tuple[str, ...]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key, schema in keys.items():
        default = "required" if key in required else _default(schema)
        yield f"| `{key}` | {_value(schema)} | {default} | {schema['description']} |"


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default", "")
    return "" if default in ("", {}) else f"`{json.dumps(default, ensure_ascii=False)}`"


def _value(schema: Mapping[str, Any]) -> str:
    """Return what a key takes: its words, or its type and bounds."""
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(word)}`" for word in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "properties" in schema:
        return "table" if schema["type"] == "object" else "string or table"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = " or ".join({"object": "table", "array": "list"}.get(kind, kind) for kind in kinds)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if low is None:
        return words
    return f"{words} {'≥' if 'minimum' in schema else '>'} {low}"


def import_rules() -> Iterator[str]:
    """Yield a section per table of the rules of an import, with a row per key."""
    schema = json.loads((SCHEMAS / "import-rules.schema.json").read_text(encoding="utf-8"))
    plain = {
        key: each
        for key, each in schema["properties"].items()
        if each.get("type") not in ("object", "array")
    }
    yield "### At the top of rules\n"
    yield from _keys(plain, schema["required"])
    for name, table in schema["properties"].items():
        if name in plain:
            continue
        inner = table.get("items", table)
        heading = f"[[{name}]]" if "items" in table else f"[{name}]"
        yield f"\n### `{heading}`: {table['description']}\n"
        keys = {
            **{
                _times(pattern): each
                for pattern, each in inner.get("patternProperties", {}).items()
            },
            **inner.get("properties", {}),
        }
        if keys:
            yield from _keys(keys, ())


def _times(pattern: str) -> str:
    """Return a pattern of keys as a reader wants it: what may stand before the unit."""
    names, units = re.findall(r"\(([^)]*)\)", pattern)
    return f"{names.replace('|', ', ')}; each with _{units.replace('|', ', _')}"


def trace_tables() -> Iterator[str]:
    """Yield a section per table of a trace, with a row per column."""
    for table in TABLES.values():
        order = f" Sorted by {', '.join(table.sorted_by)}." if table.sorted_by else ""
        yield f"\n### `{table.name}.parquet`\n"
        yield f"{table.grain[0].upper()}{table.grain[1:]}.{order}\n"
        yield "| column | type | meaning |"
        yield "| --- | --- | --- |"
        for column in table.columns:
            null = ", may be null" if column.nullable else ""
            yield f"| `{column.name}` | {column.type}{null} | {column.about} |"


def views() -> Iterator[str]:
    """Yield a section per layer of the SQL library, with a row per view."""
    layer = ""
    for view in analytics.library():
        if view.layer != layer:
            layer = view.layer
            yield f"\n### {layer}\n"
            yield "| view | what it says |"
            yield "| --- | --- |"
        yield f"| `{view.name}` | {' '.join(view.text.split())} |"


def terms() -> Iterator[str]:
    """Yield a section per term, with a row per tool, and the sources."""
    for term in all_terms():
        yield f"\n## {term.name}: {term.about}\n"
        yield "| tool | what it means |"
        yield "| --- | --- |"
        for tool in tools():
            yield f"| {tool.name} | {term.meanings[tool.key]} |"
        yield f"\n{term.differs}"
    yield "\n## Sources\n"
    for tool in tools():
        yield f"* {tool.name}: {tool.source}"


def layouts() -> Iterator[str]:
    """Yield a row for each published layout of recorded requests."""
    yield "| kind | form | arrival | prompt, answer | also | published by |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for kind, layout in LAYOUTS.items():
        if not layout.columns:
            continue
        columns = dict(layout.columns)
        arrival, prompt, output = (
            columns.pop(holds) for holds in ("arrival", "prompt_tokens", "output_tokens")
        )
        optional = ", optional" if "arrival" in layout.optional else ""
        also = ", ".join(f"`{name}`" for name in columns.values())
        yield (
            f"| `{kind}` | {layout.form} | `{arrival}`, {layout.time_unit}{optional} "
            f"| `{prompt}`, `{output}` | {also} | {layout.source} |"
        )


def workload() -> Iterator[str]:
    """Yield what `toolkit workload` prints of an example."""
    yield "```text"
    yield from _printed(["workload", "scenarios/two-tenants.toml"])
    yield "```"


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "scenario_keys": scenario_keys,
    "import_rules": import_rules,
    "terms": terms,
    "trace_tables": trace_tables,
    "views": views,
    "layouts": layouts,
    "workload": workload,
}


def regenerated(page: str) -> str:
    """Return the text of a page with its generated parts as they should be."""
    return PART.sub(
        lambda part: part[1] + "\n".join(PARTS[part[2]]()).strip("\n") + "\n" + part[3], page
    )


CONSOLE = re.compile(r"(```console\n\$ toolkit ([^\n]*)\n).*?(```)", re.DOTALL)


def played(page: str) -> str:
    """Return the README with its command's true output, cut after the first table."""
    return CONSOLE.sub(lambda part: part[1] + _output(part[2].split()) + part[3], page)


def _toolkit(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder at 80 columns."""
    return subprocess.run(
        [sys.executable, "-m", "toolkit", *words],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )


def _printed(words: list[str]) -> list[str]:
    """Return the lines a command prints at 80 columns, blank ones at the end left out."""
    words = [str(ROOT / word) if word.startswith("scenarios/") else word for word in words]
    with tempfile.TemporaryDirectory(prefix="toolkit-docs-") as folder:
        done = _toolkit(words, Path(folder))
    return [line.rstrip() for line in done.stdout.strip("\n").splitlines()]


def _output(words: list[str]) -> str:
    """Return what a command prints, `...` for the tables after the first."""
    lines = _printed(words)
    table = next(number for number, line in enumerate(lines) if line.startswith(" latency"))
    ends = next(number for number, line in enumerate(lines) if line.startswith("trace:"))
    return "\n".join([*lines[:table], "...", *lines[ends:], ""])


def main() -> int:
    """Rewrite every page; return how many were stale where `--check` only asks.

    Commands, the README's and those of the questions, are not run for
    `--check`: tests of their own do.
    """
    stale = 0
    if "--check" not in sys.argv:
        readme = ROOT / "README.md"
        readme.write_text(played(readme.read_text(encoding="utf-8")), encoding="utf-8")
        with questions.folder() as folder:
            for page in sorted(questions.PAGES.glob("*.md")):
                text = folder.answered(page.read_text(encoding="utf-8"))
                page.write_text(text, encoding="utf-8")
    for page in sorted(DOCS.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = regenerated(before)
        stale += before != after
        if "--check" not in sys.argv:
            page.write_text(after, encoding="utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
