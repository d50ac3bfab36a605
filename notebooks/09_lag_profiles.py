import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lag profiles")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.plots.curves import curves, lag_profile
    from analysis.plots.intervals import claim_intervals
    from analysis.plots.levels import cumulative_curve
    from analysis.studies.circuit.views import said
    from analysis.studies.lags import views
    from analysis.studies.lags.claims import DROP, Case
    from analysis.studies.lags.study import METHODS, LagStudy
    from analysis.tables import judged_claims
    from analysis.text.lists import Design
    from book.live import answered, boxes, progress_bar, requested, studied, tokens_note
    from store import Store

    WINDOW = 10


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # After an item, its successor
    """)


@app.cell(hide_code=True)
def lag_summary(asked, claims, study):
    probe, serial = (said(claims, f"lag_successor_{d}") for d in ("probe", "serial"))
    heads = said(claims, "lag_top_heads_probe")
    recency = said(claims, "lag_recency_probe")
    mo.md(f"""
    **{asked.card.name}** reads {study.n_words} words in random order, or as many as fit. Shown one
    of them again, it finds the word that followed more probable than the word before by at least
    {probe.estimate} nats (shown a word that is not in the list: {probe.control}; successor
    recalled: **{probe.verdict}**). In a list shown twice whole it is by {serial.estimate}
    (**{serial.verdict}**). Without its heads of the largest induction scores the successor's log
    odds fall by {heads.estimate} or more, without random ones by {heads.control}:
    **{heads.verdict}**. The end of the list is preferred to its start by {recency.estimate}, after
    a word that is not in it by {recency.control}: **{recency.verdict}**.
    """)


@app.cell
def question():
    model, source = boxes()
    mo.hstack([model, source], justify="start")
    return model, source


@app.cell
def ask(model, source):
    asked = requested(model.value, source.value)
    store = Store.open()
    tokens_note(asked)
    return asked, store


@app.cell
def ask_study(asked):
    study = studied(LagStudy, asked)
    return (study,)


@app.cell
def evidence_answer(store, study):
    evidence = answered(study.evidence, lambda e: store.recall(e, progress_bar))
    return (evidence,)


@app.cell
def judged(evidence, store, study):
    claims = store.recall(study.claims(evidence))["claims"]
    return (claims,)


@app.cell
def lag_claims_chart(claims):
    claim_intervals(
        claims,
        f"{claims.filter(verdict='supported').height} of {claims.height} claims about lists are "
        "supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick).",
    )


@app.cell
def lag_claims_table(claims):
    judged_claims(claims)


@app.cell(hide_code=True)
def lists_text(study):
    mo.md(rf"""
    ## Lists

    {study.n_words} different words, each one token, after BOS; {study.sizes.n_permutations} orders
    of the same words, the same for all conditions. *Probe*: one item is shown again after the
    list, in turn from every part of it. *Serial*: the whole list is shown again, and every item is
    a probe. From there the next-token probability of every item is read, by its **lag**: its slot
    in the first showing minus that of the item shown again. 0 is the item itself, +1 its
    successor, -1 its predecessor. What is read is never a slot of the second showing.

    A probability near 1 cannot rise; log odds, $\log p/(1-p)$, can.
    """)


@app.cell
def choose_lists(study):
    design = mo.ui.radio([d.value for d in Design], value="probe", label="design")
    methods = [method.value for method in METHODS]
    method = mo.ui.dropdown(methods, value=methods[0], label="method")
    parts = [part.value for part in study.layers()]
    layers = mo.ui.dropdown(parts, value=parts[0], label="layers")
    mo.hstack([design, method, layers], justify="start")
    return design, layers, method


@app.cell
def lag_chart(design, evidence, layers, method):
    case = Case(design.value, method.value, layers.value)
    shown = views.profiles(evidence, case, "p", WINDOW)
    successor, predecessor = (views.at_lag(shown, views.AS_IT_IS, lag) for lag in (1, -1))
    lag_profile(
        shown,
        "p",
        f"The successor has probability {successor:.3f}, the predecessor {predecessor:.4f}",
        "Mean probability of the items of a list by lag, with 95 % intervals over permutations; "
        f"of random heads the mean and 95 % of draws ({design.value}, {method.value}, layers: "
        f"{layers.value}). The axis is stretched at its lower end.",
    )
    return (case,)


@app.cell
def lag_odds_chart(case, evidence):
    odds = views.profiles(evidence, case, "log_odds", WINDOW)
    start = views.at_lag(odds, views.AS_IT_IS, 1)
    largest = odds.filter(pl.col("series").str.contains("induction"))["series"][-1]
    lag_profile(
        odds,
        "log_odds",
        f"Log odds of the successor: {start:.1f}, and {views.at_lag(odds, largest, 1):.1f} without "
        f"{largest}",
        f"The same as log odds ({case}).",
    )


@app.cell
def lag_levels(case, evidence):
    reached = views.levels(evidence, case)
    last = reached.filter(family="top").sort("size").row(-1, named=True)
    cumulative_curve(
        reached,
        "log odds of the successor, nats",
        f"Without the top {last['size']} induction heads the log odds are {last['value']:.1f}",
        f"Log odds of the successor with more and more heads ablated ({case}): strongest induction "
        "heads with 95 % intervals over permutations, random sets with 95 % of draws.",
    )


@app.cell(hide_code=True)
def null_title(study):
    mo.stop(not study)
    mo.md("""
    ## What random heads are
    """)


@app.cell(hide_code=True)
def null_text(case, evidence):
    above = ", ".join(map(str, evidence.upstream(case))) or "none"
    mo.md(f"""
    A head that everything in later layers needs is no control for these. Heads in earlier layers
    than every judged head that cost {DROP:g} nats or more alone count as upstream: {above}. The
    random sets that judge hold neither them nor a judged head. Others, drawn among all but the
    judged heads, cost:
    """)


@app.cell
def lag_null(case, evidence):
    views.null_sets(evidence, case).with_columns(pl.selectors.float().round(2))


@app.cell
def lag_table(case, evidence):
    views.measures(evidence, case).with_columns(pl.selectors.float().round(4))


@app.cell(hide_code=True)
def unseen_text(claims):
    control = said(claims, "lag_successor_probe").control
    mo.md(f"""
    ## After a word that is not in the list

    Nothing can follow a word that was not there: the same lists, with another word where the item
    was shown again, and lags as if it had been the item. The log ratio of +1 to -1 is then
    {control}.
    """)


@app.cell
def lag_control(design, evidence):
    both = views.control_profiles(evidence, design.value, "log_odds", WINDOW)
    flat = both.filter(series=views.CONTROL)["value"]
    lag_profile(
        both,
        "log_odds",
        f"After other words all log odds lie between {flat.min():.2f} and {flat.max():.2f}",
        f"Log odds by lag as the model is, and after other words ({design.value}); 95 % intervals "
        "over permutations.",
    )


@app.cell(hide_code=True)
def halves_text(claims):
    half = said(claims, "lag_upper_half_probe")
    mo.md(f"""
    ## Which half of the layers

    Sets of heads from all layers, or from the lower or upper half of them alone, the halves of an
    even number of layers. Zeroing the upper half's heads of the largest induction scores costs the
    successor {half.estimate} nats, those of the lower half {half.control}: more,
    **{half.verdict}**.
    """)


@app.cell
def lag_falls(design, evidence):
    views.falls(evidence, design.value).with_columns(pl.selectors.float().round(3))


@app.cell
def lag_lengths(evidence):
    lengths = views.by_length(evidence)
    own = lengths.filter(series=views.AS_IT_IS)
    ends = own.row(0, named=True), own.row(-1, named=True)
    curves(
        lengths,
        ("words in the list", "log odds of the successor, nats"),
        None,
        f"Log odds from {ends[0]['value']:.1f} ({ends[0]['at']} words) to {ends[1]['value']:.1f} "
        f"({ends[1]['at']})",
        f"Probed lists of other lengths, up to the model's context, {own['n'].min()} or more "
        "permutations each, with 95 % intervals.",
    )


@app.cell(hide_code=True)
def csv_text(study):
    mo.stop(not study)
    mo.md("""
    ## As tables of two columns

    `headbook lags FOLDER --method zero --layers all` writes the profiles of one row of controls as
    CSV files with the columns `Lag` and `Mean Probability`.
    """)


if __name__ == "__main__":
    app.run()
