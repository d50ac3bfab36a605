import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Component redundancy")

with app.setup:
    from math import exp

    import marimo as mo
    import polars as pl

    from analysis.components.ablation import Mode
    from analysis.interventions import Head
    from analysis.plots.curves import curves
    from analysis.plots.differences import condition_effects
    from analysis.plots.intervals import claim_intervals
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.circuit.heads import previous_token_head
    from analysis.studies.circuit.views import said
    from analysis.studies.component_redundancy import views
    from analysis.studies.component_redundancy.choice import N_LISTED
    from analysis.studies.component_redundancy.study import SWEPT_MODES, ComponentRedundancyStudy
    from analysis.studies.predictions.views import condition_means, menu
    from analysis.studies.redundancy import views as redundancy_views
    from analysis.studies.redundancy.claims import HALF
    from analysis.studies.redundancy.query_offsets import CHANGE, PROFILE, TARGET
    from analysis.tables import check_table, judged_claims
    from analysis.text.shown import chips, token_table
    from book.live import answered, boxes, progress_bar, requested, tokens_note
    from store import Store

    TOP_K = 6


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # Was the previous token all that a component was for?
    """)


@app.cell(hide_code=True)
def summary(asked, claims, errors, evidence):
    attention = said(claims, "component_redundant_attention")
    predictions = said(claims, "component_redundant_predictions")
    adversary = said(claims, "component_adversary")
    mo.md(f"""
    **{evidence.pair}** adds most to how much the previous-token head **{evidence.head}** of
    **{asked.card.name}** looks one token back. With this pair ablated at t and t-1, removing the
    values at t-1 does less: log KL(base || B) - log KL(A || AB) of the predictions is
    {predictions.estimate}, and {predictions.control} at most at other offsets and with pairs
    outside the mechanism; half as much would be {HALF:.2f}. Less than half, and less than there:
    **{predictions.verdict}**. In the attention output R is {attention.estimate},
    {attention.control} at most there: **{attention.verdict}**. Specific to offset 1, and not flat:
    **{said(claims, "component_specific").verdict}**; more specific within the head:
    **{said(claims, "component_within_specific").verdict}**; the head itself more specific still:
    **{said(claims, "component_head_specific").verdict}**. Drawing masks apart for both arms makes
    the standard error of the effect {errors:.1f} times as large. Under an adversary the ablation
    does {adversary.estimate} nats of harm, {adversary.control} without: more,
    **{adversary.verdict}**. Claims are about medians: each sequence counts as one, and the
    effective n is n.
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
def decomposed(asked):
    study = ComponentRedundancyStudy.of(asked)
    none = f"**{asked.card.name}** has no decomposition, so no component of it can be ablated."
    mo.stop(study is None, mo.md(f"{none} Make one with `headbook decompose`."))
    return (study,)


@app.cell
def evidence_answer(asked, store, study):
    head = previous_token_head(store.recall(AtlasStudy(asked).text_scores(), progress_bar))
    evidence = answered(study.evidence, lambda e: store.recall(e, progress_bar), head)
    return evidence, head


@app.cell
def judge(evidence, store, study):
    judged = store.recall(study.claims(evidence))
    claims, checks = judged["claims"], judged.get("checks")
    return checks, claims


@app.cell
def ways_answer(evidence):
    ways = views.effects(views.ablations(evidence))
    apart, shared = (
        views.way(ways, way.value, "its standard error")
        for way in (Mode.STOCHASTIC_APART, Mode.STOCHASTIC)
    )
    errors = apart["value"] / shared["value"]
    return errors, ways


@app.cell
def all_claims(claims):
    claim_intervals(
        claims,
        f"{claims.filter(verdict='supported').height} of {claims.height} claims about ablated "
        "components are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick).",
    )


@app.cell
def claims_table(claims):
    judged_claims(claims)


@app.cell(hide_code=True)
def pair_text(evidence):
    mo.md(rf"""
    ## Which pair

    A query component $i$ and a key component $j$ together add $a_i(t)\, a_j(t-1)\, W_{{ij}}(1)$ to
    the score of {evidence.head} from $t$ to $t-1$, with their activations $a$ and what the weights
    give at distance 1. The pair with the largest mean over half of the text is chosen; everything
    is measured on the other half, where the mean stands beside.
    """)


@app.cell
def pair_table(head, store, study):
    choice = study.pair_choice(head)
    pairs = store.recall(choice)["component_pairs"]
    views.pair_rows(pairs, choice.reference.text).with_columns(pl.selectors.float().round(3))
    return choice, pairs


@app.cell(hide_code=True)
def beside_text():
    mo.md(f"""
    ## Beside which pairs

    Pairs whose weights are about as large as those of the chosen one are controls if they have
    nothing to do with the mechanism. The nearest in norm often do: their components recur among the
    {N_LISTED} pairs that add most. So claims compare with pairs *outside the mechanism*, of
    components in none of those {N_LISTED}; pairs of all components are shown beside.
    """)


@app.cell
def beside_table(choice, evidence, pairs):
    reference = pairs.filter(text=choice.reference.text)
    views.beside_rows(evidence, reference).with_columns(pl.selectors.float().round(3) + 0.0)


@app.cell(hide_code=True)
def conditions_text(evidence):
    mo.md(rf"""
    ## What is ablated, and under which masks

    **A**: the query component writes nothing at $t$ and the key component nothing at $t-1$, to all
    heads or to {evidence.head} alone. **B**: values at $t-o$ are zeroed in the layer, as in the
    chapter on heads. Every condition is computed under its own masks. The log-ratio of KL is 0
    where B does as much as before, {HALF:.2f} where half, more where less, and negative where it
    does more. In the attention output $R$ is 1 where A leaves nothing for B to remove and 0 where B
    removes as much as before. Unlike the $R$ of a zeroed head it is no number of one unmodified
    pass: it says how much less is read at $t-1$ once the pattern has changed, and could be 0.
    """)


@app.cell
def modes_table():
    pl.DataFrame(list(views.MODES.items()), schema=["mode", "all other masks"], orient="row")


@app.cell
def choose_ablation(evidence):
    names = list(views.swept(evidence))
    ablation = mo.ui.dropdown(names, value=names[0], label="ablated")
    ablation
    return (ablation,)


@app.cell
def pair_in_attention(ablation, evidence, head):
    in_layer = views.index_rows(evidence, ablation.value, head.layer)
    name = f"pair, {ablation.value}"
    at_one = redundancy_views.at_offset(in_layer, name, 1)
    curves(
        in_layer,
        ("offset o", "redundancy R"),
        (-1, 1),
        f"In the attention output R is {at_one['value']:.2f} at offset 1 ({ablation.value})",
        f"R of B(all) at the attention output of layer {head.layer}: median over sequences with "
        f"95 % intervals. n = {at_one['n']} at 1, each counts as one: the effective n is n. Other "
        "pairs and the pair within the head are deterministic, those of all components at offset 1 "
        "alone; that of the zeroed head is its share of the channel. Values outside the axis are "
        "drawn at its ends.",
    )


@app.cell
def pair_in_predictions(ablation, evidence):
    in_logits = views.index_rows(evidence, ablation.value, None)
    first = redundancy_views.at_offset(in_logits, f"pair, {ablation.value}", 1)
    curves(
        in_logits,
        ("offset o", "log-ratio of KL"),
        None,
        f"In the predictions, values at offset 1 do {exp(-first['value']):.2%} of what they do "
        f"alone ({ablation.value})",
        "Median over sequences of log KL(base || B(all)) - log KL(A || A+B(all)) at t, with 95 % "
        f"intervals. n = {first['n']} at 1, each counts as one: the effective n is n.",
    )


@app.cell
def choose_scope():
    scope = mo.ui.radio(["all", "specific"], value="all", label="values of")
    scope
    return (scope,)


@app.cell
def pair_sweep(ablation, evidence, scope):
    rows = views.sweep_rows(views.swept(evidence)[ablation.value], scope.value)
    alone = rows.filter(role="values zeroed").sort("value").row(-1, named=True)
    curves(
        rows,
        ("offset o", "KL, nats"),
        None,
        f"Alone, values at offset {alone['at']} matter most: {alone['value']:.2g} nats",
        "What zeroing values at t - o changes in the predictions at t, alone and with the "
        f"components ablated ({ablation.value}); medians with 95 % intervals over {alone['n']} "
        "sequences, each of which counts as one: the effective n is n.",
    )


@app.cell
def choose_comparison(evidence):
    lags = evidence.modes[Mode.DETERMINISTIC.value]["comparisons"]["lag"].drop_nulls()
    offset = mo.ui.slider(steps=sorted(lags.unique()), value=1, label="offset", show_value=True)
    metric = mo.ui.radio(["nip", "cosine"], value="nip", label="measure")
    mo.hstack([offset, metric], justify="start")
    return metric, offset


@app.cell
def pair_layers(ablation, evidence, metric, offset):
    compared = views.swept(evidence)[ablation.value]
    seven = redundancy_views.comparison_rows(compared, metric.value, offset.value)
    least = seven.sort("value").row(0, named=True)
    curves(
        seven,
        ("layer", metric.value),
        None,
        f"Farthest apart: {least['series']} in layer {least['at']}, {least['value']:.2f}",
        f"{metric.value} of the attention outputs at t under two conditions, in every layer, with "
        f"values at t - {offset.value} as B ({ablation.value}); means with 95 % intervals over "
        f"{least['n']} sequences, each of which counts as one.",
    )


@app.cell
def layers_table(ablation, evidence, offset):
    compared_at = views.swept(evidence)[ablation.value]
    redundancy_views.prediction_rows(compared_at, offset.value).with_columns(
        pl.col("median", "mean", "lower", "upper").round_sig_figs(3) + 0.0,  # of -0 it makes 0
        pl.col("effective_n").round(1),
    )


@app.cell(hide_code=True)
def ways_text(claims):
    harm = said(claims, "component_adversary")
    mo.md(f"""
    ## Every way to ablate

    Where both arms draw the same masks, their noise cancels: the check says by how much the
    standard error would be larger than with masks drawn apart. On the sequences that an adversary
    was let loose on, the ablation does {harm.estimate} nats of harm under it, and {harm.control}
    where all other masks are 1: more, **{harm.verdict}**. The published way leaves a random mask
    where ours is 0, so that it ablates less than it says.
    """)


@app.cell
def ways_table(ways):
    ways.with_columns(pl.selectors.float().round(5))


@app.cell
def shared_draws(checks):
    mo.stop(checks is None, mo.md("No masks were drawn that differ."))
    check_table(checks)


@app.cell
def adversary_chart(evidence):
    steps = views.trajectories(evidence.modes[Mode.ADVERSARIAL.value]["adversary_steps"])
    ends = dict(steps.filter(at=pl.col("at").max()).select("role", "value").iter_rows())
    curves(
        steps,
        ("step", "KL(target || masked), nats a token"),
        None,
        f"The adversary reaches {ends['nothing ablated']:.2f} nats without the ablation, "
        f"{ends['components ablated']:.2f} with it",
        "How far masks chosen by sign ascent drive predictions from the target, mean over all "
        "tokens up to t.",
    )


@app.cell(hide_code=True)
def looking_text(evidence):
    mo.md(f"""
    ## Where heads look

    Attention from t by offset: of the target, of the reconstruction (all components without the
    remainders), and with {evidence.pair} ablated for all heads or for {evidence.head} alone, each
    under the masks of the mode.
    """)


@app.cell
def offsets_answer(evidence, head, store, study):
    offsets = {
        mode.value: store.recall(study.offsets(head, evidence.pair, mode), progress_bar)[
            "head_profiles"
        ]
        for mode in SWEPT_MODES
    }
    return (offsets,)


@app.cell
def choose_head(asked, head, offsets):
    card = asked.card
    heads = [str(Head(i, j)) for i in range(card.n_layers) for j in range(card.n_heads)]
    mode = mo.ui.dropdown(list(offsets), value=next(iter(offsets)), label="mode")
    watched = mo.ui.dropdown(heads, value=str(head), label="looking head")
    mo.hstack([mode, watched], justify="start")
    return mode, watched


@app.cell
def pair_watched(mode, offsets, watched):
    looked = redundancy_views.looked_at(offsets[mode.value], PROFILE, watched.value)
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
def pair_watched_change(mode, offsets, watched):
    moved = redundancy_views.looked_at(offsets[mode.value], CHANGE, watched.value)
    most = moved.sort(pl.col("value").abs()).row(-1, named=True)
    far = views.farthest(offsets, CHANGE)
    curves(
        moved,
        ("offset", "change of attention"),
        (-far, far),
        f"{watched.value} changes most at offset {most['at']}, by {most['value']:+.3f}",
        "Paired differences, with 95 % intervals over "
        f"{most['n']} sequences: ablated components to the masks of their mode, the others to the "
        "target. The axis is the same for all heads and modes.",
    )


@app.cell(hide_code=True)
def tables_text():
    mo.md("""
    ## What is predicted instead

    The same conditions after crafted prompts and samples of text, each compared with its baseline.
    Predictions are averaged over draws as probabilities; the numbers are changes of their
    logarithms.
    """)


@app.cell
def tables_answer(evidence, head, store, study):
    tables = {
        mode.value: store.recall(study.predictions(head, evidence.pair, mode), progress_bar)
        for mode in SWEPT_MODES
    }
    return (tables,)


@app.cell
def choose_prompt(evidence, head, study, tables):
    tabled = study.predictions(head, evidence.pair, Mode.DETERMINISTIC)
    prompts = tables[Mode.DETERMINISTIC.value]["prompts"]
    labels = menu(prompts.filter(pl.col("position") >= int(tabled.bos)), tabled.categories())
    masks = mo.ui.dropdown(list(tables), value=next(iter(tables)), label="mode")
    prompt = mo.ui.dropdown(labels, value=next(iter(labels)), label="prompt")
    mo.hstack([masks, prompt], justify="start")
    return masks, prompt, prompts


@app.cell
def pair_tables(masks, tables):
    moved_by = condition_means(tables[masks.value]["ablation_means"], "kl_base_ablated")
    largest = moved_by.filter(group="crafted prompts").sort("value").row(-1, named=True)
    condition_effects(
        moved_by,
        "baseline",
        f"Predictions move most under {largest['condition']}, by {largest['value']:.2f} nats",
        "KL(baseline || condition) of the prediction at t, with 95 % intervals over "
        f"{largest['n']} crafted prompts and {moved_by['n'].min()} samples of text.",
    )


@app.cell
def prompt_table(masks, prompt, prompts, tables):
    words = prompts.filter(text=prompt.value).sort("position")["token"].to_list()
    found = tables[masks.value]["predictions"].filter(text=prompt.value)
    mo.vstack([mo.Html(chips(words, len(words) - 1)), mo.Html(token_table(found, TOP_K))])


@app.cell(hide_code=True)
def published_text():
    mo.md("""
    ## Published, and ours

    Published in words only: ablating the head is specific to offset 1; ablating the component is
    flat across offsets; cut from the head alone, its effect lies between, so that the component
    works across heads.
    """)


@app.cell
def published(claims):
    asserted = {
        "component ablation: flat": "component_specific",
        "within the head: between, above the component": "component_within_specific",
        "within the head: between, below the head": "component_head_specific",
    }
    pl.DataFrame(
        [(words, str(said(claims, claim))) for words, claim in asserted.items()],
        schema=["published", "ours: specificity to offset 1"],
        orient="row",
    )


if __name__ == "__main__":
    app.run()
