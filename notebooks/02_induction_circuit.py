import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Induction circuit")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.interventions.heads import in_words
    from analysis.plots.bars import ablation_strip, composition_strip, place_bars
    from analysis.plots.curves import attention_profile, curves
    from analysis.plots.grids import head_grid, pair_grids, path_grid
    from analysis.plots.intervals import claim_intervals, losses
    from analysis.plots.levels import kept_curves
    from analysis.plots.points import one_against_other
    from analysis.studies.atlas import views as atlas_views
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.atlas.writing import COSTS, LOOKS, RAISES, copying_heads
    from analysis.studies.circuit import views
    from analysis.studies.circuit.controls import COPYING, upstream_of_copying
    from analysis.studies.circuit.heads import circuit_heads
    from analysis.studies.circuit.study import CircuitStudy
    from analysis.studies.circuit_components import views as component_views
    from analysis.studies.circuit_components.measures import judged_size
    from analysis.studies.circuit_components.study import CircuitComponentStudy
    from analysis.studies.circuit_sets import edge_views
    from analysis.studies.circuit_sets import views as set_views
    from analysis.studies.circuit_sets.conditions import Goal
    from analysis.studies.circuit_sets.question import BY_PLACE, BY_TOKEN, NEEDED, SMALL, TARGET
    from analysis.studies.circuit_sets.study import CircuitSetStudy
    from analysis.tables import beside, judged_claims, left_out, named, strongest
    from analysis.text.pool import LEAST
    from book.live import answered, boxes, progress_bar, requested, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # Does the previous-token head feed the induction head?
    """)


@app.cell(hide_code=True)
def found(asked, behaviour, heads, lines, served, tested):
    mo.md(f"""
    In **{asked.card.name}**, the induction head **{heads.copiers[0]}** loses
    {lines["needed"].estimate} of attention to its target when the previous-token head
    **{heads.previous}** is ablated, whatever stands in (other heads of that layer:
    {lines["needed"].control}; *{lines["needed"].verdict}*). Through its keys alone
    **{served}** loses {lines["keys"].estimate} directly (through its queries alone
    {lines["keys"].control}; *{lines["keys"].verdict}*), and {lines["through"].estimate} by any path
    (*{lines["through"].verdict}*). Shown again, a random block costs {behaviour} less; without
    {in_words(heads.copiers)} the second copy costs {lines["together"].estimate} more (as
    many other heads: {lines["together"].control}; *{lines["together"].verdict}*). At most a third
    of the heads keep {lines["enough"].estimate} of what all gain by the first copy, with every
    other head replaced (as many drawn: {lines["enough"].control}; *{lines["enough"].verdict}*). Of
    {tested.height} claims about the circuit, {tested.filter(verdict="supported").height} are
    supported.
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
def induction_answer(asked, store):
    induction = store.recall(AtlasStudy(asked).induction_scores(), progress_bar)
    return (induction,)


@app.cell
def text_answer(asked, store):
    text = store.recall(AtlasStudy(asked).text_scores(), progress_bar)
    return (text,)


@app.cell
def choose_heads(asked, induction, text):
    hindered = CircuitStudy.hindrance(asked)
    mo.stop(hindered, mo.md(f"*Not testable* in **{asked.card.name}**: {hindered}."))
    circuit = CircuitStudy(asked)
    heads = circuit_heads(text, induction)
    copier_head = str(heads.copiers[0])
    return circuit, copier_head, heads


@app.cell
def composition_answer(circuit, store):
    composition = store.recall(circuit.composition(), progress_bar)
    return (composition,)


@app.cell
def necessity_answer(circuit, induction, store, text):
    necessity = store.recall(circuit.necessity(text, induction), progress_bar)
    return (necessity,)


@app.cell
def paths_answer(circuit, induction, store, text):
    paths = store.recall(circuit.path_patching(text, induction), progress_bar)
    return (paths,)


@app.cell
def second_copy_answer(circuit, store):
    second_copy = store.recall(circuit.second_copy(), progress_bar)
    return (second_copy,)


@app.cell
def measured(composition, induction, necessity, paths, second_copy, text):
    evidence = {
        "text": text,
        "induction": induction,
        "composition": composition,
        "necessity": necessity,
        "paths": paths,
        "second_copy": second_copy,
    }
    return (evidence,)


@app.cell
def sets_answer(circuit, store):
    sets = CircuitSetStudy(circuit.asked).evidence(lambda each: store.recall(each, progress_bar))
    return (sets,)


@app.cell
def judge(asked, circuit, evidence, sets, store):
    judged = store.recall(circuit.claims(evidence))["claims"].filter(pl.lit(bool(sets)))
    whole = [CircuitSetStudy(asked).claims(sets)] if sets else []
    claims = pl.concat([judged, *(store.recall(each)["claims"] for each in whole)])
    return (claims,)


@app.cell
def gate(asked, claims, sets):
    mo.stop(
        claims.is_empty(),
        mo.md(f"""
        *Not testable*: **{asked.card.name}** predicts neither a random block nor a piece of its
        text a nat per token better for the order in which it saw it before, so that there is no
        copying that heads could have a part in. What follows says what its heads look at.
        """),
    )
    tested, kept_sets = claims, sets
    return kept_sets, tested


@app.cell
def say(tested):
    asked_for = {
        "needed": "previous_needed",
        "keys": "key_path",
        "through": "key_path_through",
        "together": "copiers_needed",
        "enough": "circuit_enough",
    }
    lines = {name: views.said(tested, claim) for name, claim in asked_for.items()}
    return (lines,)


@app.cell(hide_code=True)
def no_copier(asked, copier_head, induction, tested):
    mo.stop(tested.is_empty() or bool(copying_heads(induction)), mo.md(""))
    mo.md(f"""
    **{asked.card.name} copies, and no head is its induction head**: none looks at the target with
    more than {LOOKS:g} of its attention and writes what copying uses. What is said of an induction
    head below is said of {copier_head}, which looks there most.
    """)


@app.cell
def claim_chart(tested):
    claim_intervals(
        tested,
        f"{tested.filter(verdict='supported').height} of {tested.height} claims about the circuit "
        "are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick), each on the scale of its own statistic.",
    )


@app.cell
def head_claims_answer(asked, copy_answer, induction, store, text):
    head_claims = store.recall(AtlasStudy(asked).claims(text, induction, copy_answer))["claims"]
    judged_claims(head_claims)


@app.cell
def claim_table(tested):
    judged_claims(tested)


@app.cell
def claims_measured(tested):
    mo.accordion({"What each claim measures": tested.select("claim", "statistic")})


@app.cell(hide_code=True)
def published_text(tested):
    mo.stop(tested.is_empty())
    mo.md("""
    ## Published, and ours

    The published heads are those of another model, so that their names need not agree. Here heads
    are chosen on the even sequences of both scores, and all else is measured on sequences drawn
    apart.
    """)


@app.cell
def published(copier_head, heads, lines, tested):
    not_tested = "not tested"
    pl.DataFrame(
        [
            ("circuit", "L1H1 feeds L2H4", f"{heads.previous} feeds {copier_head}?"),
            ("inferred from", "two scores alone", "ablation, path patching, weights"),
            ("needed", not_tested, str(lines["needed"])),
            ("through the keys", not_tested, str(lines["keys"])),
            ("by any path", not_tested, str(lines["through"])),
            ("no other head does", not_tested, str(views.said(tested, "key_path_specific"))),
            ("K-composition, z", not_tested, str(views.said(tested, "k_composition_outlier"))),
            ("copying needs it", not_tested, str(lines["together"])),
        ],
        schema=["about", "published", "ours"],
        orient="row",
    )


@app.cell
def summarise_induction(induction):
    copying = beside(induction["head_scores"], "induction", "repeated", "shuffled")
    copier = strongest(copying)
    behaviour = views.saved(induction["model_scores"], "repeated")
    return behaviour, copier, copying


@app.cell
def summarise_text(text):
    looking_back = beside(text["head_scores"], "previous_token", "text", "random")
    mo.stop(looking_back.is_empty(), mo.md(left_out(text)))
    previous = strongest(looking_back)
    return looking_back, previous


@app.cell(hide_code=True)
def induction_text():
    mo.md(r"""
    ## Induction

    The prompt is `BOS, s, s` for a block $s$ of $L$ random tokens. The induction score of a head is
    the mean attention from each token of the second copy to the token *after* its first copy,

    $$
    \frac{1}{L-1} \sum_{k=1}^{L-1} A[L + k,\; k + 1].
    $$

    The control shuffles the second copy: the tokens are the same, the order is not, and a head that
    scores high only by its position must score high there too.
    """)


@app.cell
def induction_against_shuffled(copier, copying):
    one_against_other(
        copying,
        ("induction score", "induction score, second copy shuffled"),
        f"{copier['name']} scores {copier['value']:.2f} when the block is repeated, "
        f"{copier['control']:.2f} when it is shuffled",
        f"Induction score of every head on a repeated block against the shuffled control, with "
        f"95 % intervals over {copier['n']} sequences. Below the diagonal the control is larger.",
        "control",
    )


@app.cell(hide_code=True)
def looking_text():
    mo.md(f"""
    A head may look where an induction head looks and do nothing there. An induction head is called
    so here if it looks at the target with more than {LOOKS:g} and copying uses what it writes:
    without that (`zero`: nothing stands in; `resample`: what it writes on another block) the second
    copy costs at least {COSTS:g} nats per token more, or it adds at least {RAISES:g} itself to the
    logit of the right token. Others that look there are decoys. The calling is done on the even
    sequences.
    """)


@app.cell
def looking_heads(induction):
    atlas_views.looking_table(induction)


@app.cell
def choose_copier(copying):
    ranked = copying.sort("value", descending=True)["name"].to_list()[:8]
    copier_name = mo.ui.dropdown(ranked, value=ranked[0], label="induction head")
    copier_name
    return (copier_name,)


@app.cell
def lags(copier_name, induction):
    around = named(induction["head_profiles"]).filter(
        profile="induction_lag", name=copier_name.value
    )
    peak = around.filter(data="repeated").sort("value").row(-1, named=True)
    place = f"{peak['lag']:+d} tokens from" if peak["lag"] else "at"
    attention_profile(
        around,
        "tokens after the target (0 is the target)",
        f"{copier_name.value} peaks {place} the target, with {peak['value']:.2f}",
        f"Mean attention of {copier_name.value} to the tokens around the induction target, with "
        f"95 % bands over {peak['n']} sequences. A head that copies from another distance "
        "peaks elsewhere; one that goes by position alone is as high on the shuffled block. "
        "Dashed: uniform attention.",
    )


@app.cell
def copy_losses(behaviour, induction):
    both = induction["model_scores"].filter(
        pl.col("sequence").is_null(),
        pl.col("score").str.ends_with("copy_loss"),
        pl.col("data").is_in(["repeated", "shuffled"]),
    )
    losses(
        both.with_columns(copy=pl.col("score").str.replace_all("_", " ").str.strip_suffix(" loss")),
        f"Shown again, a block costs {behaviour} less; shuffled, "
        f"{views.saved(induction['model_scores'], 'shuffled')} less",
        f"Mean next-token loss on either copy with 95 % intervals over {both['n'].max()} "
        "sequences; dashed: a uniform guess.",
    )


@app.cell
def pools_answer(asked, store):
    pools = store.recall(AtlasStudy(asked).pool_scores(), progress_bar)
    return (pools,)


@app.cell(hide_code=True)
def pools_text(asked, heads):
    mo.md(f"""
    ## Which random tokens?

    A model knows little of tokens that it never saw, so that what random blocks are drawn from
    decides what they can show. {in_words(heads.copiers)}, and the model's copying, on
    `text` (ids that occur in the text, and at least {LEAST}), on its most frequent ones, and on
    `all` ids that are not special. All else in this book is measured on `{asked.token_pool}`.
    Tokens of a block are all different where the pool has as many as a block; then a perfect
    induction head scores 1.
    """)


@app.cell
def pools_compared(heads, pools):
    atlas_views.pool_table(pools, heads.copiers)


@app.cell
def lags_answer(asked, store):
    copy_answer = store.recall(AtlasStudy(asked).copy_lags(), progress_bar)
    hidden = atlas_views.copy_lags(copy_answer)
    carrying = atlas_views.carrying(hidden)
    return carrying, copy_answer, hidden


@app.cell(hide_code=True)
def lags_text():
    mo.md("""
    ## Where is it that copying reads?

    A model may copy by other heads than these: by such as look some tokens beside the target, to
    where earlier layers brought what is needed. Here no head of any layer sees, from the queries of
    the second copy, the key at one lag from the induction target. Where the loss rises, copying
    needs that key, whichever heads look at it. Lag 0 is the target, -1 the token's own first copy.
    """)


@app.cell
def copy_lags(carrying, hidden):
    curves(
        hidden,
        ("tokens after the target (0 is the target)", "rise of the loss, nats per token"),
        None,
        f"Copying needs the keys at lag {', '.join(f'{lag:+d}' for lag in carrying)}"
        if carrying
        else "Copying needs the keys at none of these lags alone",
        f"Rise of the loss on the second copy when one key is hidden from all heads, with 95 % "
        f"intervals over {hidden['n'].max()} sequences; grey: a random other key of the first "
        "copy. A lag is named where the interval lies above that and above the threshold.",
    )


@app.cell(hide_code=True)
def natural_text():
    mo.md(r"""
    ## In natural text

    The same of text as it is: for tokens that occurred before, the mean attention to whatever
    followed their earlier occurrences. Text has few of these, and they say less: words that often
    stand together are predicted without any copying.
    """)


@app.cell
def natural_against_random(induction, text):
    natural = atlas_views.natural_induction(text["head_scores"], induction["head_scores"])
    mo.stop(natural.is_empty(), mo.md(left_out(text)))
    first = strongest(natural)
    one_against_other(
        natural,
        ("induction in text", "induction score, random blocks"),
        f"{first['name']} puts {first['value']:.2f} on what followed earlier copies in text, "
        f"{first['other']:.2f} in random blocks",
        f"Attention to what followed earlier copies of the query's token, in text against random "
        f"blocks shown twice, with 95 % intervals over {first['n']} sequences. Uniform attention "
        f"would put {first['chance']:.3f} there in text.",
    )


@app.cell(hide_code=True)
def previous_text():
    mo.md(r"""
    ## The token before

    An induction head needs to know which token came before each key. The previous-token score is
    the mean of $A[i, i-1]$ over $i \ge 2$ in text; on uniformly random tokens the same score tells
    position from content.
    """)


@app.cell
def previous_against_random(looking_back, previous):
    one_against_other(
        looking_back,
        ("previous-token score, text", "previous-token score, random tokens"),
        f"{previous['name']} scores {previous['value']:.2f} in text, "
        f"{previous['control']:.2f} on random tokens",
        f"Previous-token score of every head in text against random tokens, with 95 % intervals "
        f"over {previous['n']} sequences. On the diagonal, position alone decides.",
        "control",
    )


@app.cell
def offsets(previous, text):
    back = named(text["head_profiles"]).filter(profile="offset", name=previous["name"])
    near = back.filter(pl.col("lag") <= 16)
    attention_profile(
        near,
        "tokens back",
        f"{previous['name']} puts {previous['value']:.2f} of its attention one back",
        f"Mean attention of {previous['name']} by distance, with 95 % bands over "
        f"{previous['n']} sequences; dashed: uniform attention.",
    )


@app.cell(hide_code=True)
def necessity_text(heads, tested):
    mo.stop(tested.is_empty())
    mo.md(f"""
    ## Is the previous-token head needed?

    {heads.previous} is ablated by four methods: it writes nothing (`zero`), what it writes on
    average at that position (`mean`), what it writes on another block (`resample`), or the mean of
    all values it sees (`uniform`). The control is every other head of its layer, each alone.
    """)


@app.cell
def ablated(copier_head, heads, lines, necessity):
    ablation_strip(
        views.score_falls(necessity, copier_head),
        (f"change of the induction score of {copier_head}", "ablated by"),
        f"Without {heads.previous}, {copier_head} loses {lines['needed']}",
        f"Change of the induction score of {copier_head} when one head is ablated, with 95 % "
        f"intervals over sequences: {heads.previous}, every other head of its layer, and "
        f"{heads.previous} where the second copy is shuffled and there is no score to lose.",
    )


@app.cell
def serve(circuit, evidence, tested):
    mo.stop(tested.is_empty())
    served = str(circuit.claims(evidence).served)
    return (served,)


@app.cell(hide_code=True)
def path_text(heads, served, tested):
    mo.stop(tested.is_empty())
    mo.md(f"""
    ## By which path?

    Ablation changes all that lies downstream. Here the contribution $z W_O$ of one sender is
    changed in the residual stream that enters the layer of {served}, the induction head that
    {heads.previous} serves most, and *only* where its keys, or its queries, are computed: all other
    heads, and all other layers, see what they saw. Such a path is *direct*. Where MLPs or other
    heads pass on what {heads.previous} writes it is 0; so the same is measured *by any path*, with
    what the layers between make of the change. Were {heads.previous} the one that tells {served}
    which token came before each key, the change would lie in the keys. Values cannot change a
    pattern: their path is measured in the loss {{cite}}`wang2022ioi`.
    """)


@app.cell
def path_control(tested):
    mo.stop(tested.is_empty())
    path_method = mo.ui.radio(["resample", "zero"], value="resample", label="contribution")
    path_method
    return (path_method,)


@app.cell
def path_effects(served, heads, path_method, paths, tested):
    path_grid(
        views.path_falls(paths, served, path_method.value),
        f"From {heads.previous} into the keys of {served}, directly: "
        f"{views.said(tested, 'key_path')}",
        f"Change of the induction score of {served} when the contribution of one earlier head "
        "is changed in one of its inputs (resample: comes from another block; zero: is taken "
        f"out). Framed: {heads.previous}. Other large cells are other senders to the same input.",
    )


@app.cell
def path_table(heads, paths, tested):
    mo.stop(tested.is_empty())
    views.path_table(paths, heads.previous)


@app.cell
def path_loss(served, heads, paths, tested):
    ablation_strip(
        views.path_losses(paths, served),
        ("change of the loss on the second copy, nats per token", "into"),
        f"The direct path from {heads.previous} to the keys of {served} is worth "
        f"{views.said(tested, 'key_path_loss')}",
        f"Change of the loss on the second copy when {served} alone sees the change of one "
        f"head's contribution, with 95 % intervals over sequences: {heads.previous}, and the other "
        "heads of its layer (keys, and all three inputs).",
    )


@app.cell(hide_code=True)
def weights_text(tested):
    mo.stop(tested.is_empty())
    mo.md(r"""
    ## Do the weights say so?

    For an earlier head with $W_{OV} = W_V W_O$ and a later one with $W_{QK} = W_Q W_K^\top$, the
    K-composition is $\lVert W_{OV} W_{QK}^\top \rVert_F / (\lVert W_{OV} \rVert_F \lVert W_{QK}
    \rVert_F)$, likewise with the queries and values {cite}`elhage2021framework`. The gain of the
    norm before attention is folded in, and that of a norm behind it. Rotary positions are left out,
    so that weights are those of a query and a key at the same place.
    """)


@app.cell
def weights(composition, copier_head, heads, tested):
    mo.stop("head_pairs" not in composition, mo.md(left_out(composition)))
    composition_strip(
        views.compositions(composition["head_pairs"], heads.previous, heads.copiers),
        f"{heads.previous} → {copier_head}, K-composition: "
        f"z = {views.said(tested, 'k_composition_outlier')}",
        "Composition of every pair of heads in different layers by their weights, in standard "
        "deviations above the mean of its kind; blue: the pairs of the plots."
        f"{left_out(composition)}",
    )


@app.cell(hide_code=True)
def copying_text(copier_head, tested):
    mo.stop(tested.is_empty())
    mo.md(f"""
    ## Does copying need the induction heads?

    One head alone may be replaced by others that do the same; so the induction heads are ablated
    one by one and together, beside random sets of as many other heads in the same layers. The
    direct logit is what a head adds to the logit of the next token, beyond what it adds to the
    average token: $z W_O$ through the final norm, its scale frozen, and $W_U$. {copier_head} would
    have to raise the token that it looks at.
    """)


@app.cell
def copying_loss(heads, lines, necessity):
    ablation_strip(
        views.loss_rises(necessity),
        ("change of the loss on the second copy, nats per token", "ablated by"),
        f"Without {in_words(heads.copiers)}, the loss rises by {lines['together']}",
        "Change of the loss on the second copy with 95 % intervals over sequences: each induction "
        "head alone, all together, and random sets of other heads in the same layers.",
    )


@app.cell(hide_code=True)
def copying_null_text(heads, necessity, tested):
    mo.stop(tested.is_empty())
    above = ", ".join(map(str, upstream_of_copying(necessity, heads))) or "none"
    mo.md(f"""
    Random sets drawn anywhere outside the circuit cost, by the heads in them that copying needs
    although they lie below all induction heads ({above}; resampled alone each costs
    {COPYING:g} nats per token or more). Sets with such a head judge nothing.
    """)


@app.cell
def copying_null(heads, necessity, tested):
    mo.stop(tested.is_empty())
    views.null_sets(necessity, heads).with_columns(pl.selectors.float().round(2))


@app.cell
def direct_logits(asked, copier_head, second_copy, tested):
    added = second_copy["head_scores"].filter(
        pl.col("sequence").is_null(), score="direct_logit", data="repeated"
    )
    mo.stop(added.is_empty(), mo.md(left_out(second_copy)))
    head_grid(
        added,
        asked.card.n_layers,
        0.0,
        f"{copier_head} adds to the next token {views.said(tested, 'copier_writes_next_token')}",
        "Direct logit of the next token on the second copy, for every head; the control of the "
        "title is the same where the second copy is shuffled.",
    )


@app.cell(hide_code=True)
def enough_text(asked, kept_sets):
    shared = ", ".join(f"{set_views.overlap(one)} ({method})" for method, one in kept_sets.items())
    mo.md(f"""
    ## Which heads are enough?

    A circuit is a claim about *all* heads: that these do it, and the others need not. So every
    other head is replaced, by what it writes on another block (`resample`) or on average at that
    position (`mean`); those blocks repeat as well, each at a lag of its own, so that nothing tells
    where the first copy is here. Embeddings and MLPs stay. What is kept is told as a share of what
    all heads gain on the second copy: 0 with all of them replaced, 1 with none. Heads are cut one
    by one, those first whose loss costs least beside what is cut already, on one half of the
    blocks; the circuit is the smallest set of at most one in {SMALL} heads that keeps
    {100 * TARGET:g} % there, and all figures are those of the other half {{cite}}`wang2022ioi`.
    That half alone would find a circuit as large with {shared} of its heads. Beside it stand the
    first heads by a gradient on the way from none to all replaced
    {{cite}}`hanna2024faithfulness`, and by what they look at.

    Heads that say only *that* something repeats are kept by such stand-ins. With others, from
    blocks whose second copy is in random order, the same heads keep
    {set_views.shuffled_said(kept_sets, asked.seed)}.
    """)


@app.cell
def faithfulness(asked, kept_sets, lines):
    kept_curves(
        set_views.curve_rows(kept_sets, asked.seed),
        f"With every other head replaced, few heads keep {lines['enough']}",
        "Share of the gain on the second copy that is kept with every other head replaced, with "
        "95 % intervals over sequences: sets cut one by one, the first heads by a gradient on the "
        "way from the stand-ins, the first by their induction or previous-token score; grey: heads "
        "in random order, and sets drawn with as many heads in each layer as the circuit.",
    )


@app.cell
def circuit_heads_alone(asked, kept_sets, tested):
    by_head = set_views.head_rows(kept_sets, asked.seed)
    foremost = by_head.sort("value").row(-1, named=True)
    ablation_strip(
        by_head,
        ("share of the gain that is lost without it, too", "head of the circuit"),
        f"{foremost['name']} matters most in the circuit: {foremost['value']:.2f} of the gain is "
        f"lost without it ({foremost['role']})",
        "What each head adds to the circuit, all heads outside it replaced, with 95 % intervals "
        f"over {foremost['n']} sequences. That each adds enough is "
        f"{views.said(tested, 'circuit_minimal').verdict}; that copying needs the circuit, "
        f"{views.said(tested, 'circuit_needed')}.",
    )


@app.cell
def areas(asked, kept_sets):
    mo.vstack(
        [
            mo.md("Share kept on average over all numbers of heads; 1 if one head kept all:"),
            set_views.area_rows(kept_sets, asked.seed),
        ]
    )


@app.cell(hide_code=True)
def gates_text(kept_sets):
    mo.md(f"""
    A second opinion does without cutting one by one: every head gets a gate between what it reads
    and what stands in, all are learned together by gradient descent, and one that stays open costs
    {NEEDED:g} of the gain {{cite}}`louizos2018l0`. From {set_views.n_starts(kept_sets)}, each
    on other sequences, gates choose {set_views.gates_said(kept_sets, Goal.ENOUGH)} every
    time. Learned the other way round, gates choose heads whose replacement *alone* destroys
    copying, of which one among those that work one after the other may do:
    {set_views.gates_said(kept_sets, Goal.NEEDED)} every time.
    """)


@app.cell
def gates_table(asked, kept_sets):
    set_views.gate_rows(kept_sets, asked.seed)


@app.cell
def doses(asked, kept_sets):
    lost = set_views.dose_rows(kept_sets, asked.seed)
    curves(
        lost,
        ("how far the circuit goes to its stand-in", "share of the gain that is lost"),
        None,
        f"Half-way to its stand-in, the circuit has lost {set_views.at(lost, 0.5)} of the gain",
        "Share of the gain that is lost as the circuit alone is replaced little by little, z of "
        "every head going the same part of the way, with 95 % intervals over sequences. A straight "
        "line would be a loss in proportion.",
    )


@app.cell
def rest_by_place(asked, kept_sets):
    missing_by_place = set_views.rest_rows(kept_sets, BY_PLACE, asked.seed)
    curves(
        missing_by_place,
        ("quarter of the second copy", "share of the gain that the circuit does not keep"),
        None,
        f"The circuit misses {set_views.at(missing_by_place, missing_by_place['at'].max())} of the "
        "gain in the last quarter",
        "What is lost with every head outside the circuit replaced, as a share of what all heads "
        "gain in the same quarter of the second copy, with 95 % intervals over sequences. Below 0 "
        "the circuit does better than all heads together.",
    )


@app.cell
def rest_by_token(asked, kept_sets):
    missing_by_token = set_views.rest_rows(kept_sets, BY_TOKEN, asked.seed)
    curves(
        missing_by_token,
        ("quarter of the tokens by frequency", "share of the gain that the circuit does not keep"),
        None,
        f"The circuit misses {set_views.at(missing_by_token, missing_by_token['at'].max())} of the "
        "gain on the rarest tokens",
        "The same by the token that is predicted: quarters of the tokens that blocks are drawn "
        "from, those most frequent in the text first (without a text, by their ids).",
    )


@app.cell
def edges_answer(asked, kept_sets, store):
    edges = answered(store.recall, CircuitSetStudy(asked).edges(kept_sets), progress_bar)
    return (edges,)


@app.cell(hide_code=True)
def edges_text(edges):
    mo.md(f"""
    By which input does each head of the circuit need an earlier one? As for the paths above, what
    one sender adds is that of another block where the queries, keys or values of one receiver are
    computed, and nowhere else; here the loss on the second copy says what that is worth. The most:
    {edge_views.edges_said(edges)}. No head outside the circuit is worth more than
    {edge_views.beside_edges(edges):.2f} by all three inputs of any of its heads. A path is
    *direct*: what MLPs and heads between the two make of a contribution is not in it.
    """)


@app.cell
def edges_chart(edges):
    paths_between = edge_views.edge_rows(edges)
    mo.stop(paths_between.is_empty(), mo.md(left_out(edges)))
    best_path = paths_between.sort("value").row(-1, named=True)
    pair_grids(
        paths_between,
        "rise of the loss, nats per token",
        f"{best_path['first']} serves {best_path['second']} by its {best_path['panel']}: "
        f"{best_path['value']:.2f} nats per token",
        "Rise of the loss on the second copy when one input of the head to the right sees the "
        "contribution that the head to the left makes on another block, over "
        f"{best_path['n']} sequences.",
    )


@app.cell
def edges_table(edges):
    listed_paths = edge_views.edge_rows(edges).sort("value", descending=True)
    listed_paths.rename({"first": "sender", "second": "receiver", "panel": "into"}).with_columns(
        pl.selectors.float().round(2)
    )


@app.cell
def looks(heads, second_copy, tested):
    mo.stop(tested.is_empty())
    where = views.places(second_copy["head_scores"], [str(head) for head in heads.copiers])
    missing = views.largest_elsewhere(where.filter(name=str(heads.copiers[0])))
    return missing, where


@app.cell(hide_code=True)
def imperfect_text(missing):
    mo.md(f"""
    ## Why not perfect?

    What {missing["name"]} does not put on its target goes to BOS, where it rests, to the first copy
    of its own token, to the token before, or elsewhere.
    """)


@app.cell
def imperfect(missing, where):
    place_bars(
        where,
        f"Where {missing['name']} looks most beside the target: {missing['place']} "
        f"({missing['value']:.2f})",
        "Mean attention from the queries of the second copy, for each induction head; pale: second "
        f"copy shuffled. Over {missing['n']} sequences; shares add up to 1.",
    )


@app.cell
def heads_table(copying, looking_back):
    copying.select("name", induction="value", shuffled="control").join(
        looking_back.select("name", previous_token="value", on_random_tokens="control"), on="name"
    ).sort("induction", descending=True)


@app.cell
def decomposed(asked):
    parts_of = CircuitComponentStudy.of(asked)
    return (parts_of,)


@app.cell
def component_effects_answer(asked, heads, parts_of, store):
    mo.stop(
        parts_of is None,
        mo.md(f"""
        ## Components of the circuit

        Which parameter components this circuit needs cannot be said: **{asked.card.name}** has no
        decomposition. `headbook decompose` makes one, which belongs in the folder `decomposition`
        beside the model's weights.
        """),
    )
    part_effects = answered(store.recall, parts_of.effects(heads), progress_bar)
    return (part_effects,)


@app.cell
def component_effects_judged(heads, part_effects, parts_of, store):
    part_claims = store.recall(parts_of.claims(heads, part_effects))["claims"]
    part_lines = {name: views.said(part_claims, name) for name in part_claims["claim"].to_list()}
    return part_claims, part_lines


@app.cell(hide_code=True)
def component_finding(copier_head, heads, part_effects, part_lines):
    mo.md(f"""
    ## Components of the circuit

    Without the {judged_size(part_effects["ablations"])} parameter components that harm it most
    alone, **{copier_head}** loses {part_lines["components_needed"].estimate} of attention to its
    target (random components of the same weights and about the same norms:
    {part_lines["components_needed"].control}; *{part_lines["components_needed"].verdict}*). The
    second copy then costs {part_lines["components_needed_loss"].estimate} nats per token more
    (*{part_lines["components_needed_loss"].verdict}*). That few components carry the effects on
    {copier_head} is *{part_lines["components_concentrated"].verdict}*; that effects add up,
    *{part_lines["components_additive"].verdict}*.

    Components of q, k, v and o in the layers of {heads.previous} and {copier_head} write nothing
    at all positions; all others, and the remainder that no component holds, stay as they are, so
    that the base is the model itself. They are ranked on the even blocks, and all figures are
    those of the odd blocks.
    """)


@app.cell
def component_claim_chart(part_claims):
    claim_intervals(
        part_claims,
        f"{part_claims.filter(verdict='supported').height} of {part_claims.height} claims about "
        "components are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick), each on the scale of its own statistic.",
    )


@app.cell
def component_claim_table(part_claims):
    judged_claims(part_claims)


@app.cell
def components_together(copier_head, part_effects, part_lines):
    curves(
        component_views.joint_rows(part_effects, copier_head),
        ("components ablated", f"fall of the induction score of {copier_head}"),
        None,
        f"Together over one by one: {part_lines['components_additive'].estimate}",
        f"What {copier_head} loses without the components that harm it most, with 95 % intervals "
        "over sequences: all at once, and the sum of what each does alone; and without as many "
        "random components of the same weights and about the same norms (mean and central 95 % of "
        "the draws).",
    )


@app.cell
def components_alone(copier_head, part_effects):
    alone = component_views.single_rows(part_effects["component_scores"], copier_head)
    worst = alone.filter(name=copier_head).sort("value").row(0, named=True)
    ablation_strip(
        alone,
        ("change of the induction score", "component"),
        f"{worst['group']} alone changes {copier_head} by {worst['value']:+.2f}",
        f"Change of the induction score of {copier_head} and of the other heads of its layer when "
        "one component is ablated, with 95 % intervals over sequences; the most harmful first, as "
        "chosen on other sequences. A component that acts on several heads is not one head's own.",
    )


@app.cell
def components_table(copier_head, heads, part_effects):
    component_views.component_table(
        part_effects["component_scores"], copier_head, str(heads.previous)
    )


@app.cell(hide_code=True)
def concentration_text(part_effects):
    mo.md(f"""
    How many components carry what ablation does to a head? Shares are of the summed squared effects
    of all components on the head's score: induction for the heads of the upper layer, attention to
    the previous token for those of the lower one. The largest are chosen on other sequences. On
    heads that a component cannot feed, the largest measured effect is
    {component_views.leakage(part_effects["component_scores"]):.1g}.
    """)


@app.cell
def concentration_table(part_effects):
    component_views.concentration_table(part_effects["head_scores"])


if __name__ == "__main__":
    app.run()
