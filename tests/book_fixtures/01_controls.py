import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import polars as pl
    from fixture_scores import FixtureScores, score_bars, score_lines

    from store import Store

    store = Store.open()


@app.cell(hide_code=True)
def title():
    mo.md(r"""
    # Which head leads?

    Scores are means $\bar s = \frac{1}{n}\sum_i s_i$ of

    $$
    s_i = \frac{i + 1}{\ell + 5}.
    $$
    """)


@app.cell
def controls():
    layer = mo.ui.slider(0, 2, 1, value=1, label="layer $\\ell$")
    order = mo.ui.dropdown({"by head": "head", "by value": "value"}, value="by head")
    unit = mo.ui.radio(["share", "percent"], value="share", label="unit")
    intervals = mo.ui.switch(label="intervals")
    rounded = mo.ui.checkbox(label="rounded")
    mo.hstack([layer, order], justify="start")
    return intervals, layer, order, rounded, unit


@app.cell
def answer(layer):
    scores = store.recall(FixtureScores(layer=layer.value))["head_scores"]
    return (scores,)


@app.cell
def bars(layer, order, scores):
    score_bars(
        scores.sort(order.value, descending=order.value == "value"),
        f"Scores of the heads of layer {layer.value}.",
    )


@app.cell
def shares(intervals, rounded, scores, unit):
    _factor = 100 if unit.value == "percent" else 1
    _columns = ["head", "value", "lower", "upper"] if intervals.value else ["head", "value"]
    _shown = scores.select(_columns).with_columns(pl.col("value") * _factor)
    mo.vstack(
        [
            mo.hstack([unit, intervals, rounded], justify="start"),
            _shown.with_columns(pl.col("value").round(1)) if rounded.value else _shown,
        ]
    )


@app.cell(hide_code=True)
def finding(layer, scores):
    _best = scores.sort("value")["head"][-1]
    mo.md(f"In layer {layer.value}, head **{_best}** leads.")


@app.cell
def everything():
    layers = [store.recall(FixtureScores(layer=_layer))["head_scores"] for _layer in range(3)]
    return (layers,)


@app.cell
def lines(layers):
    score_lines(pl.concat(layers), "Scores by head, one line a layer.")


if __name__ == "__main__":
    app.run()
