import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="What holds")

with app.setup:
    import marimo as mo

    from analysis.experiments import findings
    from analysis.plots import claim_intervals
    from analysis.tables import judged_claims
    from book.live import boxes, progress_bar, requested
    from store import Store


@app.cell(hide_code=True)
def finding(claims, request):
    mo.md(f"""
    # What holds, and what does not

    Claims about the model **{request.card.name}**:
    **{claims.filter(verdict="supported").height} supported**,
    **{claims.filter(verdict="not supported").height} not supported**,
    **{claims.filter(verdict="undecided").height} undecided**. A claim is supported when its whole
    95 % interval lies beyond the threshold *and* beyond its control; it is undecided when the
    interval includes the threshold. Heads are chosen on one half of the sequences and judged on
    the other. Verdicts are computed from the store.
    """)


@app.cell
def question():
    model, source = boxes()
    mo.hstack([model, source], justify="start")
    return model, source


@app.cell
def answer(model, source):
    request = requested(model.value, source.value)
    store = Store.open()
    claims = findings(request, lambda question: store.recall(question, progress_bar))
    return claims, request


@app.cell
def intervals(claims):
    claim_intervals(
        claims,
        f"{claims.filter(verdict='supported').height} of {claims.height} claims are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick), each on the scale of its own statistic.",
    )


@app.cell
def table(claims):
    judged_claims(claims).with_columns(statement_link=claims["chapter"])


@app.cell
def measured(claims):
    mo.accordion({"What each claim measures": claims.select("claim", "statistic")})


@app.cell(hide_code=True)
def reading():
    mo.md("""
    ## How to read a row

    *Estimate* and interval come from the sequences that the head was **not** chosen on; the
    interval is a bootstrap over whole sequences {cite}`efron1979bootstrap`. The *control* is what
    the same statistic gives where the effect must be absent: uniform attention, or a second copy
    in random order. Each row links to the chapter that shows it and to the run that computed it,
    with the model's hash, the parameters and the versions.
    """)


if __name__ == "__main__":
    app.run()
