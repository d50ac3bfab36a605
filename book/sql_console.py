"""Chapter 11's console: SQL over the shipped results, in the reader's own browser.

The notebook ends a cell with `Console(queries)`; the page gets an editor, the queries, a table of
the answer and the same query for other tools. `static/sql.js` brings it to life, from files that
`sql_files` puts beside the pages; `static/sql_values.js` is how values and queries are written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .page import inert

if TYPE_CHECKING:
    from .sql_queries import Query

FOLDER = "sql"
"""Where the page finds the engine and the results."""

CONTENTS = "<!-- hb-sql-contents -->"
"""Where `sql_files` writes what the shipped copy holds, which a chapter cannot know."""

OWN = "a query of your own"
"""What the list of queries shows when the editor holds none of them."""

_TOOLS = (
    ("shell", "duckdb shell"),
    ("python", "Python"),
    ("headbook", "headbook"),
)


@dataclass(frozen=True)
class Console:
    """A place on the page to ask the results in SQL."""

    queries: tuple[Query, ...]


def console_html(console: Console) -> str:
    """The console as the page's script expects it; without the script, a list of queries.

    Args:
        console: Its queries, the first of which stands in the editor.

    Returns:
        HTML.
    """
    first = console.queries[0]
    options = "".join(f"<option>{escape(query.title)}</option>" for query in console.queries)
    options += f"<option hidden>{OWN}</option>"
    kept = inert(json.dumps([query.sql for query in console.queries]))
    return (
        f'<div class="hb-sql mathjax_ignore" data-folder="{FOLDER}/">'
        f'<label class="hb-sql-pick"><span class="hb-label">start from</span>'
        f"<select>{options}</select></label>"
        f'<textarea class="hb-sql-text" aria-label="query in SQL" spellcheck="false" '
        f'autocapitalize="off" autocomplete="off" rows="{first.sql.count(chr(10)) + 2}">'
        f"{escape(first.sql)}</textarea>"
        '<div class="hb-sql-bar"><button type="button" class="hb-sql-run">Run</button>'
        '<button type="button" class="hb-sql-stop" hidden>Stop</button>'
        '<small class="hb-sql-keys">Ctrl + Enter</small>'
        '<button type="button" class="hb-sql-link">Copy link</button>'
        '<button type="button" class="hb-sql-csv" disabled>Download CSV</button>'
        '<button type="button" class="hb-sql-copy" disabled>Copy as CSV</button></div>'
        '<p class="hb-sql-status" role="status"></p>'
        '<pre class="hb-sql-error" role="alert" hidden></pre>'
        '<div class="hb-sql-answer"></div>'
        f"{_elsewhere()}{CONTENTS}"
        f'<script type="application/json" class="hb-sql-queries">{kept}</script></div>'
    )


def _elsewhere() -> str:
    """The same query for other tools, written anew by the script as the query changes."""
    buttons = "".join(
        f'<button type="button" role="tab" aria-selected="{str(not place).lower()}"'
        f"{' tabindex=-1' if place else ''}>{name}</button>"
        for place, (_, name) in enumerate(_TOOLS)
    )
    panes = "".join(
        f'<div role="tabpanel" tabindex="0" aria-label="{name}"{" hidden" if place else ""}>'
        f'<pre class="hb-sql-as" data-as="{kind}"></pre>'
        f'<button type="button" class="hb-sql-copy-as">Copy</button></div>'
        for place, (kind, name) in enumerate(_TOOLS)
    )
    return (
        '<p class="hb-sql-head">The same query elsewhere</p>'
        f'<div class="hb-tabs hb-sql-elsewhere"><div role="tablist" aria-label="tools">{buttons}'
        f"</div>{panes}</div>"
    )
