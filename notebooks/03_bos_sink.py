import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="BOS sink")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.plots.designs import residual_norms, resting_place, two_by_two, value_norms
    from analysis.plots.differences import attention_moved, condition_effects
    from analysis.plots.grids import head_grid
    from analysis.plots.intervals import claim_intervals
    from analysis.plots.points import one_against_other
    from analysis.questions.second_text import texts_said
    from analysis.studies.sink import views
    from analysis.studies.sink.claims import PART_SMALL, PUBLISHED_MASS, VALUE_SMALL
    from analysis.studies.sink.study import SinkStudy
    from analysis.tables import judged_claims, left_out, strongest
    from book.live import boxes, progress_bar, requested, studied, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # The sink at position 0
    """)


@app.cell(hide_code=True)
def found(asked, lasting, moving, removed, top, verdicts):
    mo.md(f"""
    On {texts_said(asked)[0]}, **{top["name"]}** puts {top["value"]:.2f} ({top["lower"]:.2f} to
    {top["upper"]:.2f}) of its attention on position 0; uniform attention would put
    {top["chance"]:.2f} there. {moving} All that follows is of {texts_said(asked)[0]} and of random
    blocks. "No-op sink":
    **{verdicts.get("no_op_sink", "not tested")}**. {removed} {lasting}
    The sink is the token and not the position:
    **{verdicts.get("sink_is_token", "not tested")}**; the position and not the token:
    **{verdicts.get("sink_is_position", "not tested")}**; it needs both together:
    **{verdicts.get("sink_needs_both", "not tested")}**.
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
def answer(asked, store):
    study = studied(SinkStudy, asked)
    sink = store.recall(study.sink(), progress_bar)
    return sink, study


@app.cell
def second_answer(store, study):
    second = {text: store.recall(mass, progress_bar) for text, mass in study.second().items()}
    return (second,)


@app.cell
def judge(second, sink, store, study):
    judged = store.recall(study.claims(sink, second))
    claims = judged["claims"]
    verdicts = dict(claims.select("claim", "verdict").iter_rows())
    return claims, judged, verdicts


@app.cell
def summarise_texts(asked, judged, second, sink):
    on_texts = views.text_rows(sink, second, asked.seed)
    moving = views.text_sentence(judged, on_texts, texts_said(asked))
    return moving, on_texts


@app.cell
def summarise(sink):
    main = views.main_design(sink["head_scores"])
    masses = views.every(sink["head_scores"]).filter(score="sink_mass", data=main)
    top = strongest(masses)
    moved_bos = views.design_rows(sink["head_scores"], top["name"]).filter(
        design="BOS in the middle", holds="BOS"
    )
    lasting = "".join(
        f"Moved to the middle, BOS gets {value:.2f} of the same head's attention."
        for value in moved_bos["value"]
    )
    return lasting, main, masses, top


@app.cell
def summarise_removals(sink):
    values = views.removal_rows(sink, ("zero_value", "other_value"), "kl_base_ablated")
    keys = views.removal_rows(sink, ("mask_key",), "kl_base_ablated")
    moved_value = values.filter(pl.col("condition").str.starts_with("0 of top, "))["value"].mean()
    unused = values.row(by_predicate=pl.col("condition") == "0 of top", named=True)
    needed = keys.row(by_predicate=pl.col("condition") == "0 of top", named=True)
    removed = (
        f"Without the value that the strongest sinks read there, predictions change by "
        f"{unused['value']:.4f} nats; with the same attention on another value, by "
        f"{moved_value:.3f}; without the *attention* to it, by {needed['value']:.3f}."
    )
    return keys, needed, removed, unused, values


@app.cell(hide_code=True)
def published(verdicts):
    mo.md(rf"""
    ## What was published, and what is asked

    Published {{cite}}`xiao2023sinks`: many heads of trained models attend to the first token
    whatever it is. Published for a model with 4 layers of 6 heads: the heads of layer 2 put
    {PUBLISHED_MASS[0]} to {PUBLISHED_MASS[1]} of their attention on position 0; that data had no
    BOS at all, so position 0 held an arbitrary token; "no-op sink" was stated as a hypothesis.
    The same in our data, a sink without any BOS:
    **{verdicts.get("sink_without_bos", "not tested")}**.

    The sink mass of a head is the mean over queries $q \ge 1$ of $A[q, 0]$, on text:
    """)


@app.cell
def sink_grid(asked, masses, top):
    head_grid(
        masses,
        asked.card.n_layers,
        None,
        f"{top['name']} puts {top['value']:.2f} of its attention on position 0",
        f"Mean attention of every head to position 0, over {top['n']} sequences of "
        f"{texts_said(asked)[0]}; the tooltip has the 95 % interval and the share under uniform "
        "attention.",
    )


@app.cell
def sink_on_texts(asked, judged, on_texts):
    mo.stop(on_texts.is_empty(), mo.md(left_out(judged)))
    here, there = texts_said(asked)
    mover = on_texts.row(0, named=True)
    one_against_other(
        on_texts,
        (f"attention to position 0 on {there}", f"attention to position 0 on {here}"),
        f"{mover['name']} moves most: {mover['change']:+.2f} ({mover['change_lower']:+.2f} to "
        f"{mover['change_upper']:+.2f}) of its attention, on {there}",
        f"Mean attention of every head to position 0 on two texts, with 95 % intervals over "
        f"{mover['n']:.0f} sequences of each, of the same length; on the dashed line both are "
        "equal.",
    )


@app.cell
def moved_table(asked, on_texts):
    on_texts.head(8).select(
        "name",
        **dict(zip(texts_said(asked), ("other", "value"), strict=True)),
        change="change",
        lower="change_lower",
        upper="change_upper",
    ).with_columns(pl.selectors.float().round(3))


@app.cell(hide_code=True)
def design_text(study):
    mo.stop(not study)
    mo.md(r"""
    ## The token, or the position?

    The same sequences four times; only two positions differ. Position 0 holds BOS or the word that
    stands there in the text, and so does a position $m$ in the middle. All means are over the same
    queries $q > m$, so that differences are paired. A sink that is its *token* follows BOS to $m$;
    one that is its *position* stays when a word is put there. A model that never met BOS in the
    middle while it was trained may do neither: its layers make of BOS what they make of it at
    position 0 only, and the sink then needs both.
    """)


@app.cell
def choose_head(masses):
    ranked = masses.sort("value", descending=True)["name"].to_list()[:8]
    head = mo.ui.dropdown(ranked, value=ranked[0], label="head")
    head
    return (head,)


@app.cell
def designs(head, sink):
    rows = views.design_rows(sink["head_scores"], head.value)
    apart = (pl.col("holds") == "BOS") & pl.col("design").is_in(["BOS first", "BOS in the middle"])
    bare = (pl.col("design") == "no BOS") & (pl.col("key") == "position 0")
    told = rows.filter(apart | bare).select(
        pl.format("{} on {} at {}", pl.col("value").round(2), "holds", "key")
    )
    two_by_two(
        rows,
        f"{head.value} puts " + ", ".join(told.to_series()),
        f"Mean attention of {head.value} to position 0 and to the middle, from the queries after "
        f"the middle, with 95 % intervals over {rows['n'][0]} sequences; grey: uniform attention.",
    )


@app.cell(hide_code=True)
def carry_text(study):
    mo.stop(not study)
    mo.md(rf"""
    ## Does it carry anything?

    What query $q$ reads from position 0 is $A[q, 0]\, v_0 W_O$. A head that looks at little else
    gives nearly all of its output from there, however small $v_0$ is; so it is compared with what
    the same attention would give elsewhere, and with what it is added to. The *value*: the norm
    of $v_0$ over the mean norm of the head's other values, small below {VALUE_SMALL}. The *part*:
    the mean of $\|A[q, 0]\, v_0 W_O\|$ over the norm of the residual stream entering the layer,
    small below {PART_SMALL}. Beside both stands the same attention on the value at random other
    positions of the same sequences.
    """)


@app.cell
def carried(sink):
    values_carried = views.carried_rows(sink["head_scores"])
    mo.stop(values_carried.is_empty(), mo.md(left_out(sink)))
    first = values_carried.row(0, named=True)
    value_norms(
        values_carried,
        f"The value that {first['name']} finds at position 0 is {first['value']:.2f} times as "
        "large as others",
        "Norm of the value at position 0 over the mean norm at other positions, against attention "
        "to position 0, for every head with 95 % intervals; dashed: equally large.",
    )
    return (values_carried,)


@app.cell
def carried_table(values_carried):
    values_carried.select(
        "name",
        attention="mass",
        value="value",
        value_elsewhere="elsewhere",
        part="part",
        part_elsewhere="part_elsewhere",
    ).with_columns(pl.selectors.float().round(3))


@app.cell(hide_code=True)
def removal_text(sink):
    heads = sink["ablations"].filter(family="top")["heads"][0].replace(",", ", ")
    mo.md(rf"""
    ## Is it needed?

    Two interventions separate what is read from the act of looking. `zero_value` keeps the pattern
    and sets $v_0$ to 0: whatever changes was *carried*. `mask_key` hides key 0 and renormalises,
    $A'[q, k] = A[q, k] / (1 - A[q, 0])$: whatever changes more was kept *away* by the sink. Both
    act on what later positions read; position 0 keeps what it reads itself, since query 0 sees
    nothing else. They are applied to single sinks, to the strongest together ({heads}, chosen on
    the even sequences), and to all heads. The control of a value is *attention-matched*: each query
    gives what it gave to position 0 to a random other position that it sees. The controls of a key
    hide a random other position instead, or position 0 from other heads of the same layers.

    All effects are means over every position after the one that is removed, of values and of keys
    alike: those are the positions that can change. Which of them do is a table of its own.
    """)


@app.cell
def value_effects(unused, values):
    condition_effects(
        values,
        "base",
        f"Without the value at position 0 the strongest sinks change predictions by "
        f"{unused['value']:.4f} nats",
        "KL(base || values zeroed) over the positions after 0, with 95 % intervals over "
        f"{unused['n']} sequences; and with the same attention on random other values instead.",
    )


@app.cell
def key_effects(keys, needed):
    condition_effects(
        keys,
        "base",
        f"Without attention to position 0 the strongest sinks change predictions by "
        f"{needed['value']:.3f} nats",
        "KL(base || key masked) over the positions after the masked one, with 95 % intervals over "
        f"{needed['n']} sequences.",
    )


@app.cell
def position_table(sink):
    views.position_rows(sink).select("what", "positions", pl.col("kl", "share").round(4))


@app.cell
def loss_table(sink):
    losses = [
        views.removal_rows(sink, (method,), "loss_change").with_columns(method=pl.lit(method))
        for method in ("zero_value", "other_value", "mask_key")
    ]
    pl.concat(losses).select(
        "method", "condition", "heads", loss_change="value", lower="lower", upper="upper"
    ).with_columns(pl.selectors.float().round(4))


@app.cell
def moved(head, sink):
    shares = views.moved_rows(sink, head.value, "mask_key 0 of all")
    gains = shares.filter(pl.col("place") != "position 0").sort("change")
    gain = gains.row(-1, named=True)
    attention_moved(
        shares,
        f"Hidden position 0: {head.value} turns to {gain['place']}, by {gain['change']:+.2f} "
        f"({gain['change_lower']:+.2f} to {gain['change_upper']:+.2f})",
        f"Where {head.value} looks from queries 2 and later, as it is and with position 0 hidden "
        "from all heads. A key counts for the first place that fits; layers above also see "
        "what the layers below write differently.",
    )


@app.cell(hide_code=True)
def resting_text(verdicts):
    mo.md(rf"""
    ## A resting place?

    An induction head has nothing to copy when its token has no earlier copy. On `BOS, s, s` for a
    random block $s$, that is so in the first block, and never in the second. If the sink is where
    such a head rests, its mass must fall from the first block to the second, and by more than for
    `BOS, s, t` with a fresh $t$, where only the position differs: what counts is the difference of
    the two differences. Heads that copy, taken together, rest there:
    **{verdicts.get("sink_rests", "not tested")}**. Weights alone do not say that heads are at rest:
    they must also write less, the norm of their output in the first block over that in the second:
    **{verdicts.get("sink_rests_silently", "not tested")}**. One that copies need not rest: the
    table has each.
    """)


@app.cell
def choose_copier(sink):
    by_copying = (
        views.every(sink["head_scores"])
        .filter(score="induction", data="repeated")
        .sort("value", descending=True)["name"]
        .to_list()[:8]
    )
    copier = mo.ui.dropdown(by_copying, value=by_copying[0], label="induction head")
    copier
    return (copier,)


@app.cell
def resting(copier, sink):
    differences = views.every(sink["head_scores"]).filter(score="resting", name=copier.value)
    fall = differences.row(by_predicate=pl.col("data") == "repeated", named=True)
    control = differences.row(by_predicate=pl.col("data") == "fresh", named=True)
    resting_place(
        views.resting_rows(sink["head_scores"], copier.value),
        f"{copier.value} puts {fall['value']:+.2f} ({fall['lower']:+.2f} to {fall['upper']:+.2f}) "
        f"more on position 0 when it has nothing to copy; {control['value']:+.2f} by position",
        f"Mean attention of {copier.value} to position 0, with 95 % intervals over {fall['n']} "
        "sequences, from tokens without an earlier copy, and (second block repeated) from tokens "
        "with one; grey: uniform attention.",
    )


@app.cell
def resting_outputs(sink):
    views.copier_rows(sink["head_scores"]).head(8).with_columns(pl.selectors.float().round(3))


@app.cell(hide_code=True)
def massive_text(verdicts):
    mo.md(rf"""
    ## Massive activations

    Published {{cite}}`sun2024massive`: in large models the residual stream at the first token has
    coordinates thousands of times as large as others, and sinks go with them. A coordinate is
    *massive* if its magnitude is above 100 and at least 1,000 times the median magnitude of the
    hidden state; `massive` is the smaller of its two ratios to these bars. By this criterion there
    is one at position 0: **{verdicts.get("sink_massive", "not tested")}**. Beside it: the norm of
    the residual stream that enters each layer, by position, with BOS and with a word at position 0.
    """)


@app.cell
def massive(main, sink):
    norms = sink["layer_profiles"].filter(pl.col("position") < 16)
    ratio = (
        sink["model_scores"]
        .filter(pl.col("sequence").is_null(), pl.col("score").str.contains("norm_ratio L"))
        .filter(data=main)
        .sort("value")
        .row(-1, named=True)
    )
    residual_norms(
        norms.with_columns(data=pl.col("data").replace_strict(views.POSITION_0)),
        f"Entering {ratio['score'].split()[-1]}, the norm at position 0 is {ratio['value']:.1f} "
        "times the mean of the others",
        "Norm of the residual stream entering each layer, at the first positions, with 95 % bands "
        f"over {ratio['n']} sequences; logarithmic.",
    )


@app.cell
def massive_table(sink):
    views.massive_rows(sink).with_columns(pl.selectors.float().round(3))


@app.cell
def claims_chart(claims):
    claim_intervals(
        claims,
        f"{claims.filter(verdict='supported').height} of {claims.height} claims about the sink "
        "are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick), on the sequences that did not choose the heads; a verdict on "
        "several claims together has no number of its own.",
    )


@app.cell
def claims_table(claims):
    judged_claims(claims)


if __name__ == "__main__":
    app.run()
