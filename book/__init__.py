"""The compiler: a folder of notebooks becomes a static book, and the command line drives it.

What a notebook can rely on:

- It begins with `mo.md("# Title")`; chapter 00 is the start page, `runs` and `references` follow.
- A cell shows what it ends with: a chart, a polars frame, `mo.md`, or marimo's stacks, tabs,
  accordions, callouts, stats and inputs. Anything else is an error that names the cell.
- A chart in a named cell is a numbered figure, `fig-<cell>` for `{numref}`; its `description` is
  the caption and the text alternative. Text and axis colours follow the page's theme.
- `mo.md` is MyST: `{cite}`, `{ref}`, `{numref}`, math. HTML in it is text, so a token is text.
- Dropdown, radio, slider, switch and checkbox work: every state is computed, up to 200 a group.
  A cell that only places a control does not depend on it.
- Column `x_link` of a frame makes column `x` link (see `tables`).
- Under every output stands a link to the runs that it was made from.
"""
