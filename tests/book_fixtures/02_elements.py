# ruff: noqa: B018
import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import polars as pl
    from fixture_scores import HOSTILE, score_bars


@app.cell(hide_code=True)
def title():
    mo.md(f"""
    # Every element

    A token is text: {HOSTILE} and `{HOSTILE}`.

    /// attention | Mind this
    Inside an admonition, {HOSTILE} too.
    ///
    """)


@app.cell
def small():
    frame = pl.DataFrame(
        {
            "head": [0, 1, 2],
            "value": [0.123456789, None, 2e-7],
            "token": [HOSTILE, "</td>", "</script>"],
        }
    )
    frame
    return (frame,)


@app.cell
def long():
    pl.DataFrame({"row": range(450), "half": [i / 2 for i in range(450)]})


@app.cell
def hostile_chart(frame):
    score_bars(frame, f"Tokens such as {HOSTILE}.").encode(x="token:N")


@app.cell
def containers(frame):
    mo.ui.tabs(
        {
            "table": mo.ui.table(frame, selection=None),
            "text $x^2$": mo.md("Text with $a^2$ and {cite}`elhage2021framework`."),
            "chart": score_bars(frame, "A chart inside a tab."),
        }
    )


@app.cell
def folded():
    mo.accordion({"More": mo.plain_text(f"plain {HOSTILE}"), "Text": "some *text*"})


@app.cell
def notes():
    mo.vstack(
        [
            mo.callout("Plain words.", kind="warn"),
            mo.md("A *finding*.").callout(kind="success", title="Found"),
            mo.hstack([mo.stat(value="0.63", label="induction", caption="layer 2"), mo.md("!")]),
        ]
    )


@app.cell
def inputs():
    mo.hstack([mo.ui.number(0, 10, value=3, label="n"), mo.ui.text("BOS", label="prompt")])


@app.cell
def model():
    model_name = mo.cli_args().get("model") or "reference"
    mo.md(f"Options reach the notebook: {model_name}.")


if __name__ == "__main__":
    app.run()
