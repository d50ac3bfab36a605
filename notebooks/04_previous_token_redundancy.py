import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Previous-token redundancy")

with app.setup:
    from math import exp

    import marimo as mo
    import polars as pl

    from analysis.interventions import Head
    from analysis.plots.curves import curves
    from analysis.plots.intervals import claim_intervals
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.circuit.heads import previous_token_head
    from analysis.studies.circuit.views import said
    from analysis.studies.component_redundancy import views as component_redundancy_views
    from analysis.studies.component_redundancy.study import ComponentRedundancyStudy
    from analysis.studies.redundancy import views
    from analysis.studies.redundancy.claims import HALF
    from analysis.studies.redundancy.query_offsets import CHANGE, PROFILE, TARGET
    from analysis.studies.redundancy.study import RedundancyStudy
    from analysis.tables import judged_claims
    from book.live import answered, boxes, progress_bar, requested, studied, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # Was the previous token all that it carried?
    """)


@app.cell(hide_code=True)
def found(asked, head, in_predictions, of_sums, redundant, share):
    mo.md(f"""
    **{head}** is the strongest previous-token head of **{asked.card.name}**. With it switched off
    at a position, removing the values one token back changes the prediction there by
    {exp(-in_predictions["value"]):.2%} of what it does alone, in the median sequence. As a
    logarithm, log KL(base || B) - log KL(A || AB), that is {redundant.estimate}, of the way to take
    values away that shows least; half as much would be {HALF:.2f}. At other offsets, and with other
    heads of the layer switched off, it is {redundant.control} at most. Less than half, and less
    than there: **{redundant.verdict}**.

    Each of {in_predictions["n"]} sequences counts as one, so that the effective n is
    {in_predictions["n"]}; {of_sums["undefined"]:.1%} are left out, where nothing is above rounding.
    R from sums over sequences would be {of_sums["value"]:.2f}, and would rest on those few that
    matter most: effective n {of_sums["effective_n"]:.1f}. In the attention output nothing is
    tested: what layer {head.layer} reads one token back comes through {head} to a share of {share}.
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
def text_answer(asked, store):
    study = studied(RedundancyStudy, asked)
    text = store.recall(AtlasStudy(asked).text_scores(), progress_bar)
    head = previous_token_head(text)
    return head, study


@app.cell
def redundancy_answer(head, store, study):
    evidence = study.evidence(lambda e: store.recall(e, progress_bar), head)
    return (evidence,)


@app.cell
def offsets_answer(head, store, study):
    offsets = store.recall(study.query_offsets(head), progress_bar)["head_profiles"]
    return (offsets,)


@app.cell
def judged(asked, evidence, head, store, study):
    judged_all = store.recall(study.claims(evidence))
    mo.stop(
        "claims" not in judged_all,
        mo.md(
            f"**Not testable.** In {asked.card.name} the values one token back, taken from {head}, "
            "change too little of what is computed to say what is left of that."
        ),
    )
    claims, weighed = judged_all["claims"], evidence
    redundant = said(claims, "value_redundant_predictions")
    return claims, redundant, weighed


@app.cell
def gather(head, weighed):
    methods = {name: answer["comparisons"] for name, answer in weighed.methods.items()}
    by_head = {name: answer["comparisons"] for name, answer in weighed.others.items()}
    comparisons = methods["zero_value"]
    by_head = {str(head): comparisons, **by_head}
    return by_head, comparisons, methods


@app.cell
def summarise(by_head, comparisons, head):
    predictions = views.index_rows(by_head, str(head), None, "log_ratio")
    in_predictions = views.at_offset(predictions, str(head), 1)
    of_sums = views.of_sums(comparisons, 1)
    share = views.share_said(comparisons, head.layer)
    return in_predictions, of_sums, share


@app.cell
def redundancy_claims(claims):
    claim_intervals(
        claims,
        f"{claims.filter(verdict='supported').height} of {claims.height} claims about redundancy "
        "are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick).",
    )


@app.cell
def claims_table(claims):
    judged_claims(claims)


@app.cell(hide_code=True)
def definition(head):
    mo.md(rf"""
    ## Six conditions

    At one random position $t$ of every sequence, spread evenly over the text: the model as it is
    (*base*); **A**, {head} writes nothing at $t$; **B(all)**, the values at $t - o$ are zeroed for
    all heads of layer {head.layer}; **B(specific)**, for {head} alone; and A together with either.
    If the value at $t - o$ was all that {head} carried, then after A there is nothing left for B to
    remove:

    $$
    \log \frac{{\mathrm{{KL}}(\mathrm{{base}} \,\|\, B)}}{{\mathrm{{KL}}(A \,\|\, AB)}}
    $$

    of the predictions is 0 where B does as much as before, {HALF:.2f} where half, more where less,
    and negative where B does more. That could fail: other heads read the same values, and what they
    change at $t - o$ itself is read above. One of the two that rounding could make counts as what
    rounding could make at most, which brings the ratio nearer to 1; a sequence where both are as
    small is left out.

    **Effective n** is $(\sum w)^2 / \sum w^2$ of the weights $w$ that sequences have in a number: n
    in a median, and few in a mean of KL or a ratio of sums, which large sequences rule.
    """)


@app.cell
def counted(in_predictions, of_sums):
    pl.DataFrame(
        [
            ("sequences that count", f"{in_predictions['n']}"),
            ("left out: both KL as small as rounding", f"{of_sums['undefined']:.1%}"),
            ("one KL as small as rounding", f"{of_sums['at_floor']:.1%}"),
            ("effective n of the mean KL(base || B)", f"{of_sums['effective_n']:.1f}"),
        ],
        schema=["at offset 1, values zeroed", "here"],
        orient="row",
    )


@app.cell
def choose_head(by_head):
    shown_head = mo.ui.dropdown(list(by_head), value=next(iter(by_head)), label="head")
    shown_head
    return (shown_head,)


@app.cell
def ratio_in_predictions(by_head, shown_head):
    ratios = views.index_rows(by_head, shown_head.value, None, "log_ratio")
    first = views.at_offset(ratios, shown_head.value, 1)
    curves(
        ratios,
        ("offset o", "log-ratio of KL"),
        None,
        f"Without {shown_head.value}, values at offset 1 do {exp(-first['value']):.2%} of what "
        "they do alone",
        "Median over sequences of log KL(base || B(all)) - log KL(A || A+B(all)) by offset, for "
        "every head as A, with 95 % intervals of order statistics. "
        f"n = {first['n']} at 1, each counts as one: the effective n is n.",
    )


@app.cell(hide_code=True)
def share_text(head, share):
    mo.md(rf"""
    ## In the attention output: a share

    There, R $= 1 - \lVert A - AB \rVert^2 / \lVert \mathrm{{base}} - B \rVert^2$ needs no ablation.
    What B removes is the sum of what all heads of layer {head.layer} bring from $t - o$, what it
    removes after A is the same sum without {head}: both are read off one unmodified pass. So R is
    the share of {head} in that channel, here {share} at offset 1, and says nothing on whether the
    model needs it. For B(specific) it is 1 whatever the model. Only where a norm stands between
    the heads and $W_O$, A changes what the others write, and R is not exactly that share.
    """)


@app.cell
def share_in_attention(by_head, head, shown_head):
    in_layer = views.index_rows(by_head, shown_head.value, head.layer, "redundancy")
    at_one = in_layer.filter(series=shown_head.value, at=1)
    mo.stop(at_one.is_empty(), mo.md("Values one back bring too little there for a share."))
    curves(
        in_layer,
        ("offset o", "share of the channel"),
        (-1, 1),
        f"{shown_head.value} brings {at_one['value'].item():.2%} of what layer {head.layer} reads "
        "one token back",
        f"R of B(all) at the attention output of layer {head.layer} by offset, for every head as "
        "A: median over sequences with 95 % intervals of order statistics. "
        f"n = {at_one['n'].item()} at 1, each counts as one: the effective n is n. A description, "
        "not a test. Values outside the axis are drawn at its ends.",
    )


@app.cell(hide_code=True)
def sweep_text(comparisons):
    mo.stop(comparisons.is_empty())
    mo.md(r"""
    ## By offset, beside B alone

    A ratio that is flat over offsets says nothing where B alone does nothing. So the effect of B
    stands beside its effect after A, in nats.
    """)


@app.cell
def choose_scope(comparisons):
    mo.stop(comparisons.is_empty())
    scope = mo.ui.radio(["all", "specific"], value="all", label="values of")
    scope
    return (scope,)


@app.cell
def sweep_chart(by_head, scope, shown_head):
    swept = views.sweep_rows(by_head[shown_head.value], scope.value)
    alone = swept.filter(pl.col("series") == "values ablated").sort("value").row(-1, named=True)
    curves(
        swept,
        ("offset o", "KL, nats"),
        None,
        f"Alone, values at offset {alone['at']} matter most: {alone['value']:.2g} nats",
        "What zeroing values at t - o changes in the predictions at t: KL(base || B) and, with "
        f"{shown_head.value} zeroed at t, KL(A || A+B); medians with 95 % intervals over "
        f"{alone['n']} sequences, each of which counts as one: the effective n is n.",
    )


@app.cell(hide_code=True)
def layers_text(comparisons):
    mo.stop(comparisons.is_empty())
    mo.md(r"""
    ## Layer by layer

    The seven comparisons at offset 1: base with A, with either B, and with A and B together; and A
    with A and B together. NIP is $\langle x, y \rangle / \lVert x \rVert^2$, how much of the
    reference is left; both are 1 where nothing changed, as in every layer below the head's.
    """)


@app.cell
def choose_metric(comparisons):
    mo.stop(comparisons.is_empty())
    metric = mo.ui.radio(["nip", "cosine"], value="nip", label="measure")
    metric
    return (metric,)


@app.cell
def layers_chart(by_head, metric, shown_head):
    seven = views.comparison_rows(by_head[shown_head.value], metric.value, 1)
    least = seven.sort("value").row(0, named=True)
    curves(
        seven,
        ("layer", metric.value),
        None,
        f"Farthest apart: {least['series']} in layer {least['at']}, {least['value']:.2f}",
        f"{metric.value} of the attention outputs at t under two conditions, in every layer, with "
        f"{shown_head.value} as A and values at t - 1 as B; means with 95 % intervals over "
        f"{least['n']} sequences, each of which counts as one: the effective n is n.",
    )


@app.cell
def layers_table(by_head, shown_head):
    views.prediction_rows(by_head[shown_head.value], 1).with_columns(
        pl.col("median", "mean", "lower", "upper").round_sig_figs(3), pl.col("effective_n").round(1)
    )


@app.cell(hide_code=True)
def methods_text(head):
    mo.md(f"""
    ## Other ways to take a value away

    {head} at offset 1, with the values zeroed, replaced by their mean, or hidden so that the
    pattern is renormalised: its share in the attention output and the log-ratio in the predictions,
    medians over sequences, each with its effective n and the share of sequences on which it is not
    defined. R of the predictions from sums over sequences stands beside: few of them make it.
    """)


@app.cell
def methods_table(head, methods):
    views.method_rows(methods, head.layer).with_columns(pl.selectors.float().round(4))


@app.cell(hide_code=True)
def looking_text(head):
    mo.md(f"""
    ## Where the others look

    With {head} zeroed at t, heads above it may look elsewhere from t. Heads of its layer and below
    cannot.
    """)


@app.cell
def choose_watched(head, offsets):
    above = (
        offsets.filter(pl.col("layer") > head.layer)
        .select("layer", "head")
        .unique()
        .sort("layer", "head")
    )
    shown = [str(Head(*place)) for place in above.rows()] or [str(head)]
    watched = mo.ui.dropdown(shown, value=shown[0], label="looking head")
    watched
    return (watched,)


@app.cell
def watched_chart(offsets, watched):
    looked = views.looked_at(offsets, PROFILE, watched.value)
    peak = looked.filter(role=TARGET).sort("value").row(-1, named=True)
    curves(
        looked,
        ("offset", "mean attention"),
        (0, 1),
        f"From t, {watched.value} looks most at offset {peak['at']}, with {peak['value']:.2f}",
        f"Mean attention of {watched.value} from t to t - o under each condition, with 95 % "
        f"intervals over {peak['n']} sequences.",
    )


@app.cell
def watched_change(offsets, watched):
    moved = views.looked_at(offsets, CHANGE, watched.value)
    most = moved.sort(pl.col("value").abs()).row(-1, named=True)
    farthest = max(
        0.05, moved.select(pl.max_horizontal(pl.col("lower", "upper").abs()).max()).item()
    )
    curves(
        moved,
        ("offset", "change of attention"),
        (-farthest, farthest),
        f"{watched.value} changes most at offset {most['at']}, by {most['value']:+.3f}",
        f"Paired difference to the target of the attention of {watched.value} from t to t - o, "
        f"with 95 % intervals over {most['n']} sequences.",
    )


@app.cell(hide_code=True)
def published_text(comparisons):
    mo.stop(comparisons.is_empty())
    mo.md("""
    ## Published, and ours

    Published in words only: ablating the head is specific to offset 1; ablating the parameter
    component behind it is flat across offsets; restricted to the head, the component's effect lies
    between, so that it works across heads. The first is tested here, the others below.
    """)


@app.cell
def published(redundant):
    pl.DataFrame(
        [("predictions: more than at other offsets and of other heads", str(redundant))],
        schema=["head ablation is specific to offset 1", "ours, log-ratio"],
        orient="row",
    )


@app.cell
def components(asked):
    decomposed = ComponentRedundancyStudy.of(asked)
    absent = f"**{asked.card.name}** has no decomposition, so that the others are not tested."
    mo.stop(decomposed is None, mo.md(f"## Its components\n\n{absent}"))
    return (decomposed,)


@app.cell
def components_answer(asked, decomposed, head, store):
    of_pair = answered(decomposed.evidence, lambda e: store.recall(e, progress_bar), head)
    of_pair_claims = store.recall(decomposed.claims(of_pair))["claims"]
    return of_pair, of_pair_claims


@app.cell(hide_code=True)
def components_text(of_pair, of_pair_claims):
    whole, within, zeroed = (
        said(of_pair_claims, f"component_{name}specific") for name in ("", "within_", "head_")
    )
    mo.md(f"""
    ## Its components

    The pair that adds most to how far {of_pair.head} looks one token back is {of_pair.pair}.
    Specificity to offset 1 is the log-ratio there minus its mean at other offsets. With the pair
    ablated it is {whole.estimate}, with pairs outside the mechanism {whole.control}: specific, and
    not flat, **{whole.verdict}**. Cut from {of_pair.head} alone it is {within.estimate}: more than
    cut from all heads, **{within.verdict}**. With the head zeroed it is {zeroed.estimate}: more
    still, **{zeroed.verdict}**. The chapter on component redundancy has every mode and control.
    """)


@app.cell
def components_chart(of_pair):
    contrast = component_redundancy_views.index_rows(of_pair, "deterministic", None)
    pair_first = views.at_offset(contrast, "pair, deterministic", 1)
    curves(
        contrast,
        ("offset o", "log-ratio of KL"),
        None,
        f"With the pair ablated, values at offset 1 do {exp(-pair_first['value']):.2%} of what "
        "they do alone",
        "Median over sequences of log KL(base || B(all)) - log KL(A || A+B(all)), with 95 % "
        f"intervals, with the pair ablated, cut from the head alone, and the head zeroed. n = "
        f"{pair_first['n']} at 1, each counts as one: the effective n is n.",
    )


if __name__ == "__main__":
    app.run()
