import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Parameter components")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.plots.curves import contribution_lines, importance_curves, training_losses
    from analysis.plots.grids import pair_grids
    from analysis.plots.intervals import divergence_intervals
    from analysis.plots.points import component_heads, heads_against_sum, spread_points
    from analysis.studies.components import pair_views, views
    from analysis.studies.components.pairs import ADDED, OFFSETS
    from analysis.studies.components.report import examples, report
    from analysis.studies.components.study import ComponentStudy
    from book.live import answered, boxes, progress_bar, requested, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding(headline):
    mo.md(f"""
    # How many components does a token need?

    {headline}
    """)


@app.cell
def question():
    model, source = boxes()
    mo.hstack([model, source], justify="start")
    return model, source


@app.cell
def ask(model, source):
    asked = requested(model.value, source.value)
    decomposed = answered(ComponentStudy.of, asked)
    store = Store.open()
    tokens_note(asked)
    return decomposed, asked, store


@app.cell
def quality_answer(asked, decomposed, store):
    quality = store.recall(decomposed.quality(), progress_bar) if decomposed else None
    headline = views.headline(quality, asked.card.name) if decomposed else views.NOT_DECOMPOSED
    return headline, quality


@app.cell
def harvest_answer(decomposed, quality, store):
    mo.stop(decomposed is None, mo.md("Without one, there is nothing to show here."))
    measured = quality
    harvest = store.recall(decomposed.harvest(), progress_bar)
    return harvest, measured


@app.cell(hide_code=True)
def definition(measured):
    mo.md(rf"""
    ## What is decomposed, and how well

    A weight $W$ is written as a sum of rank-one components and a remainder $\Delta$
    {{cite}}`bushnaq2025spd`: component $c$ reads $a_c = x \cdot V_c$ and writes $a_c U_c$. A
    causal-importance function says for every token how much each component matters there; one of
    importance 0 may be scaled by anything in $[0, 1]$ without harm, if the decomposition is good.
    With all components *and* the remainder the model is the target exactly; without the remainder
    it is the reconstruction, {views.figure(measured["decompositions"], "ones")} nats away.
    """)


@app.cell
def divergence_chart(measured):
    divergences = views.divergences(measured)
    worst = divergences.filter(role="measured").row(-1, named=True)
    divergence_intervals(
        divergences,
        f"At worst, masks do {worst['of_zero']:.0%} of the harm of nothing at all",
        "KL of the target's predictions to those under masks, in nats per token, with 95 % "
        f"intervals over {worst['n']} rows of text. Control: every decomposed layer returns its "
        "bias.",
    )


@app.cell(hide_code=True)
def adversary_text(measured):
    mo.md(views.adversary_note(measured))


@app.cell
def bars_table(measured):
    views.bars_met(measured)


@app.cell
def losses_chart(measured):
    losses = measured.get("decomposition_losses", pl.DataFrame())
    mo.stop(losses.is_empty(), mo.md("This run came without the losses of its training."))
    trained = losses.filter(pl.col("loss") != "seconds")
    last = trained.filter(loss="stochastic").sort("step").row(-1, named=True)
    training_losses(
        trained,
        f"After {last['step']:,} steps, random masks cost {last['value']:.3f} nats",
        "Losses while the decomposition was trained, before their weights; each value is the mean "
        "since the one before. Logarithmic.",
    )


@app.cell(hide_code=True)
def importance_text(harvest, measured):
    counts = harvest["components"].select(
        n=pl.len(), fires=(pl.col("density") > 0).sum(), often=(pl.col("density") > 0.01).sum()
    )
    mo.md(f"""
    ## How many matter

    Of {counts["n"][0]:,} components of attention, {counts["fires"][0]:,} fire on this text at all
    (importance above 0 at some token), {counts["often"][0]:,} at more than one token in a hundred.
    {views.future_note(measured)}
    """)


@app.cell
def choose_scale(harvest):
    curves = views.importance_curves(harvest["components"])
    scale = mo.ui.radio(["linear", "log"], value="log", label="axis")
    scale
    return curves, scale


@app.cell
def importance_chart(curves, scale):
    by_weight = curves.group_by("weight").len().sort("len", "weight")
    least, most = by_weight.row(0), by_weight.row(-1)
    importance_curves(
        curves,
        scale.value,
        f"{most[0]} has {most[1]} components alive, {least[0]} only {least[1]}",
        "Mean causal importance over all tokens of the alive components (above "
        f"{views.ALIVE['alive']:g}) of every weight, sorted.",
    )


@app.cell(hide_code=True)
def heads_text(harvest):
    n_weights = harvest["components"].select("layer", "projection").n_unique()
    mo.md(rf"""
    ## Components and heads

    Nothing ties a component of the {n_weights} decomposed weights to one head. Its norm in a head
    is the Frobenius norm of $U_c V_c^\top$ in the head's rows (of o: columns; of k and v: by
    key-value head). The {views.N_HEAT} most important components of a weight, and the
    {views.N_BLOCKS} first of them beside the target:
    """)


@app.cell
def choose_weight(harvest):
    weights = views.with_names(harvest["components"])["weight"].unique(maintain_order=True)
    weight = mo.ui.dropdown(weights.to_list(), value=weights[0], label="weight")
    weight
    return (weight,)


@app.cell
def block_chart(harvest, weight):
    blocks = views.block_norms(harvest, weight.value)
    squares = blocks.group_by("name").agg(pl.col("value").pow(2).sum().sqrt())
    total = dict(squares.iter_rows())
    component_heads(
        blocks,
        "norm",
        f"{weight.value}: the remainder has {total['remainder'] / total['target']:.1%} of the norm",
        "Frobenius norm, by head, of the target's weight, of the sum of its components, of the "
        "remainder, and of the most important single components.",
    )


@app.cell
def norm_chart(harvest, weight):
    norms = views.by_head(harvest, weight.value, "head_norm", views.N_HEAT)
    top = pair_views.largest(norms)
    component_heads(
        norms,
        "norm",
        f"The largest in one head is {top['name']}, {top['value']:.2f} in {top['head']}",
        "Frobenius norm of single components in every head, the most important component first.",
    )


@app.cell
def activation_chart(harvest, weight):
    written = views.by_head(harvest, weight.value, "head_activation", views.N_HEAT)
    mo.stop(written.is_empty(), mo.md("Components of o do not write to single heads."))
    loudest = pair_views.largest(written)
    component_heads(
        written,
        "mean size",
        f"Where it fires, {loudest['name']} writes {loudest['value']:.2f} to {loudest['head']} "
        f"({loudest['lower'] or float('nan'):.2f} to {loudest['upper'] or float('nan'):.2f})",
        "Mean absolute activation where a component fires, times the norm of what it writes to "
        "each head; the tooltip has the 95 % interval over sequences.",
    )


@app.cell
def choose_spread_layer(harvest):
    every_layer = [str(i) for i in harvest["components"]["layer"].unique().sort()]
    spread_layer = mo.ui.radio(every_layer, value=every_layer[0], label="layer")
    spread_layer
    return (spread_layer,)


@app.cell
def spread_chart(harvest, spread_layer):
    spreads = views.spreads(harvest, int(spread_layer.value))
    wide = spreads.filter(pl.col("spread") > pl.col("even") / 2)
    spread_points(
        spreads,
        f"{wide.height} of {spreads.height} alive components are spread over more than half the "
        "entropy of all heads",
        f"Entropy of how the squared norm of each alive component of layer {spread_layer.value} "
        "is spread over heads; dashed: alike in all heads, ln(number of heads).",
    )


@app.cell(hide_code=True)
def pairs_text(harvest):
    refused = harvest.get("absences", pl.DataFrame({"reason": []}))["reason"].to_list()
    mo.md(rf"""
    ## What pairs of components add to scores

    A query component at $t$ and a key component at $t - o$ add
    $a_q(t)\, a_k(t - o)\, W_h(o)$ to the score of head $h$, where

    $$
    W_h(o) = \frac{{1}}{{\sqrt{{d_\mathrm{{head}}}}}}
    \sum_i A_i \cos o\theta_i + B_i \sin o\theta_i
    $$

    with $A = q_1 k_1 + q_2 k_2$ and $B = q_1 k_2 - q_2 k_1$ over coordinates that turn together
    is exact for rotary positions {{cite}}`su2021rope`. Shown is $W_h$ at the *signed* mean
    activations of both where they fire: without the signs a contribution can mean its opposite. A
    component that fires with either sign adds less in the mean than at single tokens.
    {" ".join(refused)}
    """)


@app.cell
def pairs_answer(harvest):
    layers = pair_views.paired_layers(harvest)
    mo.stop(not layers, mo.md("In no layer are queries, keys and values paired."))
    paired = harvest
    return layers, paired


@app.cell
def choose_layer(layers, paired):
    layer = mo.ui.dropdown({f"layer {i}": i for i in layers}, value=f"layer {layers[-1]}")
    heads = [pair_views.EVERY_HEAD, *(f"H{i}" for i in range(pair_views.n_heads(paired)))]
    head = mo.ui.dropdown(heads, value=heads[0], label="head")
    offset = mo.ui.dropdown([str(o) for o in OFFSETS if o], value="1", label="offset")
    mo.hstack([layer, head, offset], justify="start")
    return head, layer, offset


@app.cell
def of_layer(layer, paired):
    part = pair_views.of_layer(paired, layer.value)
    return (part,)


@app.cell
def shown_scores(head, part):
    added = pair_views.shown_pairs(part, pair_views.added(part, head.value, ADDED), "q", "k")
    return (added,)


@app.cell
def pair_chart(added, head):
    over = pair_views.over_offsets(added, OFFSETS)
    first = pair_views.largest(over)
    pair_grids(
        over,
        "added",
        f"{first['first']} with {first['second']} adds {first['value']:+.3g} at offset "
        f"{first['lag']}, {head.value}",
        "What pairs of the most important query components (down) and key components (across) "
        f"add to scores, at their mean activations, by offset; {head.value}.",
    )


@app.cell
def difference_chart(added, head, offset):
    difference = pair_views.minus_offset_0(added, int(offset.value))
    moved = pair_views.largest(difference)
    pair_grids(
        difference,
        "difference",
        f"{moved['first']} with {moved['second']} adds {moved['value']:+.3g} more at offset "
        f"{offset.value} than at 0",
        f"The same at offset {offset.value} minus offset 0: what position alone changes; "
        f"{head.value}.",
    )


@app.cell
def line_chart(head, part):
    lines = pair_views.strongest_lines(part, head.value)
    control = pair_views.random_band(part, head.value)
    peak = pair_views.largest(lines)
    contribution_lines(
        lines,
        control,
        f"{peak['pair']} adds most, {peak['value']:+.2f} at offset {peak['lag']}",
        f"What the {pair_views.N_LINES} strongest pairs of all components add along offsets, "
        f"{head.value}. Grey: the middle 95 % of {control['n'].max() or 0} random pairs of "
        "components that fire.",
    )


@app.cell
def sum_chart(offset, part):
    parts = pair_views.heads_and_sum(part, int(offset.value))
    one = pair_views.largest(parts)
    heads_against_sum(
        parts,
        f"{one['pair']} adds {one['value']:+.2f} to {one['head']}, {one['total']:+.2f} to all",
        f"What the strongest pairs add to single heads at offset {offset.value}, against their "
        "sum over all heads; dashed: one head has all of it.",
    )


@app.cell(hide_code=True)
def firing_text(layers):
    mo.md(f"""
    ## What fires together

    Firing of the most important components, in each of {len(layers)} layers: at the same token,
    and one token apart. A query at t and a key at t-1 are what previous-token behaviour is made
    of, and counts at the same token cannot show them. *phi* is the correlation of firing, 0 for
    components that know nothing of each other; *jaccard* is both over either; *p_key* is the share
    of the first component's tokens at which the second fires, *p_query* the reverse.
    """)


@app.cell
def choose_firing(paired):
    pairing = mo.ui.radio(list(pair_views.PAIRS), value="keys and values", label="pairs of")
    firing = paired["component_pairs"].filter(first="k", lag=1)
    measures = firing["measure"].unique(maintain_order=True).to_list()
    measure = mo.ui.dropdown(measures, value="phi", label="measure")
    mo.hstack([pairing, measure], justify="start")
    return measure, pairing


@app.cell
def firing_chart(measure, pairing, part):
    together = pair_views.fired_together(part, pairing.value, measure.value)
    strongest = pair_views.largest(together)
    pair_grids(
        together,
        measure.value,
        f"{strongest['first']} and {strongest['second']}, {strongest['panel']}: "
        f"{measure.value} {strongest['value']:.3g}",
        f"{measure.value} of firing of the most important components of {pairing.value}.",
    )


@app.cell
def cosine_chart(part):
    cosines = pair_views.cosines(part)
    alike = pair_views.largest(cosines)
    pair_grids(
        cosines,
        "cosine",
        f"{alike['first']} and {alike['second']} read the same direction to {alike['value']:+.2f}",
        "Cosine of the directions that key and value components read.",
    )


@app.cell(hide_code=True)
def report_text(paired):
    mo.md(f"""
    ## Component report

    For the {pair_views.n_queries(paired)} most important query components of the layer: the keys
    that raise and lower its scores most at any offset, what each fires on more than chance (spaces
    shown as dots), and the value components that fire at the key's token.
    """)


@app.cell
def report_table(part):
    report(part)


@app.cell
def choose_rank(paired):
    n_ranks = pair_views.n_queries(paired)
    rank = mo.ui.dropdown({f"{i + 1}": i for i in range(n_ranks)}, value="1", label="query number")
    rank
    return (rank,)


@app.cell
def example_table(part, rank):
    mo.Html(examples(part, rank.value))


if __name__ == "__main__":
    app.run()
