import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Previous-token redundancy")

with app.setup:
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
    from analysis.studies.redundancy.query_offsets import CHANGE, PROFILE, TARGET
    from analysis.studies.redundancy.study import RedundancyStudy
    from analysis.tables import judged_claims
    from book.live import answered, boxes, progress_bar, requested, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # Was the previous token all that it carried?
    """)


@app.cell(hide_code=True)
def found(asked, claims, head, in_attention, in_predictions, verdicts):
    mo.md(f"""
    **{head}** is the strongest previous-token head of **{asked.card.name}**. With it switched off
    at a position, removing the values one token back still does
    {1 - in_attention["value"]:.0%} of what it does alone to the attention output of layer
    {head.layer}: redundancy R = {in_attention["value"]:.2f} ({in_attention["lower"]:.2f} to
    {in_attention["upper"]:.2f}) at offset 1. In the predictions R is on average
    {said(claims, "value_redundant_predictions").estimate}, of the way to take values away that
    shows least and each position's R between -1 and 1; of all positions together, which those that
    matter most rule, it is {in_predictions["value"]:.2f} ({in_predictions["lower"]:.2f} to
    {in_predictions["upper"]:.2f}, {in_predictions["n"]} positions). That at least half of it goes,
    more than at other offsets and without other heads of the layer, whichever way values are taken
    away: **{verdicts.get("value_redundant_attention", "not tested")}** in the attention output,
    where R is the head's share of what the offset brings, and
    **{verdicts.get("value_redundant_predictions", "not tested")}** in the predictions.
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
    text = store.recall(AtlasStudy(asked).text_scores(), progress_bar)
    head = previous_token_head(text)
    return (head,)


@app.cell
def redundancy_answer(asked, head, store):
    evidence = RedundancyStudy(asked).evidence(lambda e: store.recall(e, progress_bar), head)
    return (evidence,)


@app.cell
def offsets_answer(asked, head, store):
    offsets = store.recall(RedundancyStudy(asked).query_offsets(head), progress_bar)[
        "head_profiles"
    ]
    return (offsets,)


@app.cell
def judged(asked, evidence, head, store):
    judged_all = store.recall(RedundancyStudy(asked).claims(evidence))
    mo.stop(
        "claims" not in judged_all,
        mo.md(
            f"**Not testable.** In {asked.card.name} the values one token back, taken from {head}, "
            "change too little of what is computed to say what is left of that."
        ),
    )
    claims, weighed = judged_all["claims"], evidence
    verdicts = dict(claims.select("claim", "verdict").iter_rows())
    return claims, verdicts, weighed


@app.cell
def gather(head, weighed):
    methods = {name: answer["comparisons"] for name, answer in weighed.methods.items()}
    by_head = {name: answer["comparisons"] for name, answer in weighed.others.items()}
    comparisons = methods["zero_value"]
    by_head = {str(head): comparisons, **by_head}
    return by_head, comparisons, methods


@app.cell
def summarise(by_head, head):
    name = str(head)
    attention = views.index_rows(by_head, name, head.layer, "redundancy")
    predictions = views.index_rows(by_head, name, None, "redundancy_pooled")
    in_attention = views.at_offset(attention, name, 1)
    in_predictions = views.at_offset(predictions, name, 1)
    return in_attention, in_predictions


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

    At one random position $t$ of every sequence: the model as it is (*base*); **A**, {head} writes
    nothing at $t$; **B(all)**, the values at $t - o$ are zeroed for all heads of layer
    {head.layer}; **B(specific)**, for {head} alone; and A together with either. If the value at
    $t - o$ was all that {head} carried, then after A there is nothing left for B to remove:

    $$
    R = 1 - \frac{{\lVert A - AB \rVert^2}}{{\lVert \mathrm{{base}} - B \rVert^2}}
    $$

    is 1 where A leaves nothing, 0 where B removes as much as before, and negative where it removes
    more. In the predictions KL stands in place of the squared norm. Where B alone changes next to
    nothing, R is not defined: such sequences are counted apart, below.

    For B(specific) at the attention output of layer {head.layer}, R is 1 *by construction*: a head
    that writes nothing reads nothing. That is a test of the code and no evidence of anything.
    """)


@app.cell
def choose_head(by_head):
    shown_head = mo.ui.dropdown(list(by_head), value=next(iter(by_head)), label="head")
    shown_head
    return (shown_head,)


@app.cell
def index_in_attention(by_head, head, shown_head):
    in_layer = views.index_rows(by_head, shown_head.value, head.layer, "redundancy")
    at_one = views.at_offset(in_layer, shown_head.value, 1)
    curves(
        in_layer,
        ("offset o", "redundancy R"),
        (-1, 1),
        f"Without {shown_head.value}, the attention output loses {at_one['value']:.0%} of what "
        "it reads one token back",
        f"Redundancy index of B(all) at the attention output of layer {head.layer}, by offset, "
        f"for every head as A; mean with 95 % intervals over sequences ({at_one['n']} at 1). "
        "Values outside the axis are drawn at its ends.",
    )


@app.cell
def index_in_predictions(by_head, shown_head):
    pooled = views.index_rows(by_head, shown_head.value, None, "redundancy_pooled")
    first = views.at_offset(pooled, shown_head.value, 1)
    curves(
        pooled,
        ("offset o", "redundancy R"),
        (-1, 1),
        f"In the predictions, R of {shown_head.value} is {first['value']:.2f} at offset 1",
        "Redundancy index of B(all) in the predictions at t, with KL in place of the norm, of all "
        f"sequences together with 95 % intervals (n = {first['n']} at offset 1). Values outside "
        "the axis are drawn at its ends.",
    )


@app.cell(hide_code=True)
def sweep_text():
    mo.md(r"""
    ## By offset, beside B alone

    An index that is flat over offsets says nothing where B alone does nothing. So the effect of B
    stands beside its effect after A, in nats.
    """)


@app.cell
def choose_scope():
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
        f"Alone, values at offset {alone['at']} matter most: {alone['value']:.3f} nats",
        "What zeroing values at t - o changes in the predictions at t: KL(base || B) and, with "
        f"{shown_head.value} zeroed at t, KL(A || A+B); means with 95 % intervals.",
    )


@app.cell(hide_code=True)
def layers_text():
    mo.md(r"""
    ## Layer by layer

    The seven comparisons at offset 1: base with A, with either B, and with A and B together; and A
    with A and B together. NIP is $\langle x, y \rangle / \lVert x \rVert^2$, how much of the
    reference is left; both are 1 where nothing changed, as in every layer below the head's.
    """)


@app.cell
def choose_metric():
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
        f"{least['n']} sequences.",
    )


@app.cell
def layers_table(by_head, shown_head):
    views.prediction_rows(by_head[shown_head.value], 1).with_columns(pl.selectors.float().round(4))


@app.cell(hide_code=True)
def methods_text(head):
    mo.md(f"""
    ## Other ways to take a value away

    {head} at offset 1, with the values zeroed, replaced by their mean, or hidden so that the
    pattern is renormalised; and on how many sequences the index is not defined.
    """)


@app.cell
def methods_table(head, methods):
    views.method_rows(methods, head.layer).with_columns(pl.selectors.float().round(3))


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
def published_text():
    mo.md("""
    ## Published, and ours

    Published in words only: ablating the head is specific to offset 1; ablating the parameter
    component behind it is flat across offsets; restricted to the head, the component's effect lies
    between, so that it works across heads. The first is tested here, the others below.
    """)


@app.cell
def published(claims):
    pl.DataFrame(
        [
            (place, str(said(claims, f"value_redundant_{place}")))
            for place in ("attention", "predictions")
        ],
        schema=["head ablation is specific to offset 1, and to this head, in", "ours"],
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
    Specificity to offset 1 is R there minus its mean at other offsets. With the pair ablated it is
    {whole.estimate}, with random pairs {whole.control}: specific, and not flat,
    **{whole.verdict}**. Cut from {of_pair.head} alone it is {within.estimate}: more than cut from
    all heads, **{within.verdict}**. With the head zeroed it is {zeroed.estimate}: more still,
    **{zeroed.verdict}**. The chapter on component redundancy has every mode and control.
    """)


@app.cell
def components_chart(head, of_pair):
    contrast = component_redundancy_views.index_rows(of_pair, "deterministic", head.layer)
    pair_first = views.at_offset(contrast, "pair, deterministic", 1)
    curves(
        contrast,
        ("offset o", "redundancy R"),
        (-1, 1),
        f"With the pair ablated R is {pair_first['value']:.2f} at offset 1",
        f"Redundancy index of B(all) at the attention output of layer {head.layer}, of all "
        f"sequences together with 95 % intervals (n = {pair_first['n']} at offset 1), with the "
        "pair ablated, cut from the head alone, and the head zeroed.",
    )


if __name__ == "__main__":
    app.run()
