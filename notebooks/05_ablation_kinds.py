import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="What ablate means")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.plots.grids import agreement_grid, effect_grid
    from analysis.plots.levels import cumulative_curve
    from analysis.plots.points import one_against_other
    from analysis.questions.second_text import texts_said
    from analysis.studies.kinds import views
    from analysis.studies.kinds.claims import KindEvidence
    from analysis.studies.kinds.study import KindStudy
    from analysis.tables import check_table, effects_beside, judged_claims, left_out, single_effects
    from book.live import boxes, progress_bar, requested, studied, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # What "ablate" means
    """)


@app.cell(hide_code=True)
def found(asked, changed, farthest, nearest, top):
    mo.md(f"""
    Every head of **{asked.card.name}** alone, under each kind of ablation, on
    {texts_said(asked)[0]}. The kind closest to `zero` in how it ranks the heads is
    `{nearest["other"]}` (Spearman {nearest["value"]:.2f}, {nearest["lower"]:.2f} to
    {nearest["upper"]:.2f}); the farthest is `{farthest["other"]}` ({farthest["value"]:.2f},
    {farthest["lower"]:.2f} to {farthest["upper"]:.2f}). {changed} Zeroing the
    {top["size"]} heads that matter most alone changes predictions by {top["value"]:.2f} nats.
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
def kinds_answer(asked, store):
    study = studied(KindStudy, asked)
    kinds = {kind: store.recall(sweep, progress_bar) for kind, sweep in study.kinds().items()}
    return kinds, study


@app.cell
def second_answer(store, study):
    on_second = {text: store.recall(sweep, progress_bar) for text, sweep in study.second().items()}
    return (on_second,)


@app.cell
def sets_answer(kinds, store, study):
    sets = {
        family: store.recall(sweep, progress_bar)
        for family, sweep in study.sets(kinds["zero"]).items()
    }
    return (sets,)


@app.cell
def identities_answer(store, study):
    identities = store.recall(study.identities(), progress_bar)
    return (identities,)


@app.cell
def direct_answer(store, study):
    direct = store.recall(study.direct_effects(), progress_bar)
    return (direct,)


@app.cell
def estimate_answer(store, study):
    estimate = store.recall(study.gradient_estimates(), progress_bar)
    return (estimate,)


@app.cell
def gather(estimate, identities, kinds, on_second, sets):
    evidence = KindEvidence(
        kinds=kinds,
        estimates={"one gradient": estimate},
        sets=sets,
        identities=identities,
        second=on_second,
    )
    return (evidence,)


@app.cell
def judge(evidence, store, study):
    judged = store.recall(study.claims(evidence))
    agreements, curves = (judged[table] for table in ("rank_agreements", "ablation_curves"))
    return agreements, curves, judged


@app.cell
def summarise(asked, curves, judged, on_second):
    top = curves.filter(family="top").sort("size").row(-1, named=True)
    changed = views.text_sentence(judged, on_second, texts_said(asked)[0])
    return changed, top


@app.cell
def rank_kinds(agreements, judged, kinds):
    names = list(kinds)
    every_two = agreements.filter(pl.col("kind").is_in(names), pl.col("other").is_in(names))
    swept = every_two.filter(pl.col("other") != "zero", kind="zero").sort("value")
    mo.stop(swept.is_empty(), mo.md(f"No two kinds of ablation rank the heads.{left_out(judged)}"))
    nearest, farthest = swept.row(-1, named=True), swept.row(0, named=True)
    return every_two, farthest, nearest


@app.cell(hide_code=True)
def kinds_text(study):
    mo.stop(not study)
    mo.md(r"""
    ## The kinds

    | kind | what a head then writes |
    |---|---|
    | `zero` | nothing: $z_h = 0$ before $W_O$ |
    | `mean per position`, `mean pooled` | its mean over other rows of the same text |
    | `resample` | what it wrote on another row (a random derangement) |
    | `uniform` | the mean of the visible values |
    | `mean value` | its pattern, over values that are all their mean |
    | `zero value at 0` | the value at position 0 is 0, the pattern unchanged |
    | `mask key 0` | position 0 is invisible, the pattern renormalised |

    Each head is ablated alone, at every position, on the same rows; effects are
    $\mathrm{KL}(\text{base} \,\|\, \text{ablated})$ in nats, averaged over positions.
    """)


@app.cell(hide_code=True)
def drawn_text(kinds):
    mo.md(views.drawn_said(kinds))


@app.cell
def choose_metric(study):
    mo.stop(not study)
    metric = mo.ui.dropdown(
        {"KL(base || ablated)": "kl_base_ablated", "loss change": "loss_change"},
        value="KL(base || ablated)",
        label="effect",
    )
    metric
    return (metric,)


@app.cell
def every_head(kinds, metric):
    singles = single_effects(kinds, metric.value)
    worst = singles.sort("value").row(-1, named=True)
    effect_grid(
        singles,
        f"{metric.selected_key}, nats",
        f"The largest effect of one head is {worst['value']:.2f} nats: {worst['name']}, "
        f"{worst['kind']}",
        f"{metric.selected_key} of every head alone under every kind, mean over {worst['n']} "
        "sequences; the tooltip has the 95 % interval.",
    )


@app.cell
def agreement(every_two, farthest, judged):
    agreement_grid(
        every_two,
        f"zero and {farthest['other']} agree least: {farthest['value']:.2f}",
        f"Spearman correlation over {farthest['n']} heads of KL(base || ablated) between every "
        f"two kinds; 95 % bootstrap intervals over sequences in the tooltip.{left_out(judged)}",
    )


@app.cell
def choose_pair(kinds):
    first = mo.ui.dropdown(list(kinds), value="zero", label="upward")
    second = mo.ui.dropdown(list(kinds), value="resample", label="across")
    mo.hstack([first, second], justify="start")
    return first, second


@app.cell
def pair(first, kinds, second):
    both = effects_beside(
        single_effects({first.value: kinds[first.value]}, "kl_base_ablated"),
        single_effects({second.value: kinds[second.value]}, "kl_base_ablated"),
    )
    larger = both.filter(pl.col("value") > pl.col("other")).height
    one_against_other(
        both,
        (f"{first.value}, nats", f"{second.value}, nats"),
        f"{first.value} is the larger effect for {larger} of {both.height} heads",
        "KL(base || ablated) of every head alone, with 95 % intervals over the same sequences. "
        "On the dashed line both kinds cost the same.",
    )


@app.cell(hide_code=True)
def texts_text(asked, study):
    mo.stop(not study)
    mo.md(f"""
    ## The same heads on another text

    The same question of {texts_said(asked)[1]} in place of {texts_said(asked)[0]}: as many rows of
    the same length, one kind, `zero`. Two kinds on the same rows share the noise of those rows, and
    two texts share none; so what a text changes is held against what a kind changes *over different
    rows*, one half of them against the other. Noise lowers each of these correlations: by how much,
    a ranking beside itself on other rows says. Where rows are exchanged between the texts, nothing
    but noise is left; that is the control. The kinds are those that replace a whole head: `zero
    value at 0` and `mask key 0` take away one place only, and stand below for comparison.
    """)


@app.cell
def heads_on_texts(agreements, asked, judged, kinds, on_second):
    on_both = views.text_effects(kinds["zero"], on_second)
    rank_alike = views.text_agreement(agreements, on_second)
    mo.stop(not rank_alike, mo.md(left_out(judged)))
    mover = on_both.row(0, named=True)
    here, there = texts_said(asked)
    one_against_other(
        on_both,
        (f"KL on {here}, nats", f"KL on {there}, nats"),
        f"Two texts rank the heads with a Spearman correlation of {rank_alike['value']:.2f}; "
        f"{mover['name']} moves most, from place {mover['place']:.0f} to "
        f"{mover['other_place']:.0f}",
        f"KL(base || ablated) of zeroing every head alone on {here} (upward) and on {there} "
        "(across), with 95 % intervals over the sequences of each. On the dashed line both texts "
        f"cost the same. Rank correlation {rank_alike['value']:.2f} ({rank_alike['lower']:.2f} to "
        f"{rank_alike['upper']:.2f}) over {rank_alike['n']} heads.",
    )


@app.cell
def text_table(agreements):
    views.halves_table(agreements)


@app.cell(hide_code=True)
def identity_text(identities):
    worst_of = (
        identities["head_scores"]
        .filter(pl.col("sequence").is_not_null())
        .group_by("score")
        .agg(pl.col("value").max())
    )
    apart = dict(worst_of.iter_rows())
    of_model = dict(
        identities["model_scores"]
        .filter(pl.col("sequence").is_null())
        .select("score", "value")
        .iter_rows()
    )
    mo.md(f"""
    ## The same under another name, and traps

    Setting a head's query to 0 after RoPE, or its scores to a constant, *is* `uniform`: what heads
    read differs by at most {apart["q_zero_from_uniform"]:.1g} and
    {apart["constant_scores_from_uniform"]:.1g} anywhere. Neither is `zero`, which differs by up
    to {apart["zero_from_uniform"]:.2f}. Setting scores to 0 *after* the causal mask was added
    puts {of_model["future_attention_unmasked_scores"]:.2f} of the attention on tokens that the
    model must not see. With all scores at $-\\infty$ the softmax is not a number in
    {of_model["nan_when_all_scores_are_minus_inf"]:.0%} of rows; here such a head reads nothing.
    """)


@app.cell
def identity_checks(judged):
    check_table(judged["checks"])


@app.cell
def top_against_random(curves, top):
    cumulative_curve(
        curves,
        "KL(base || ablated), nats",
        f"The top {top['size']} heads cost {top['value']:.2f} nats; {views.against_random(curves)}",
        f"Zeroing the heads that matter most alone, chosen on the even sequences, on the "
        f"{top['n']} odd ones (95 % bootstrap), against random sets of the same size drawn among "
        "all other heads, and as many in each layer (mean and 95 % of draws).",
    )


@app.cell
def random_table(curves):
    curves.select("family", "size", pl.col("value", "lower", "upper", "p", "p_holm").round(4), "n")


@app.cell
def direct_and_total(direct, kinds):
    total = single_effects({"total": kinds["zero"]}, "logit_change")
    own = single_effects({"direct": direct}, "logit_change")
    repair = effects_beside(total, own)
    mo.stop(repair.is_empty(), mo.md(left_out(direct)))
    repaired = repair.filter(pl.col("other").abs() > pl.col("value").abs()).height
    one_against_other(
        repair,
        ("total effect on the logit", "direct effect on the logit"),
        f"For {repaired} of {repair.height} heads the direct effect is larger than the total one",
        "Change of the logit of the base's most probable token when a head writes nothing: by its "
        "own path through the frozen final norm (across), and in all (upward). Above the dashed "
        "line later layers make up for a loss; a head far below it acts through others.",
    )


@app.cell
def estimated(agreements, estimate, kinds):
    exact = single_effects({"exact": kinds["zero"]}, "loss_change")
    guessed = single_effects({"estimate": estimate}, "loss_change")
    ranks = agreements.filter(kind="zero", other="one gradient")
    mo.stop(ranks.is_empty(), mo.md("One gradient and the sweep have no order to compare."))
    rank = ranks.row(0, named=True)
    one_against_other(
        effects_beside(exact, guessed),
        ("exact loss change, nats", "estimate from one gradient, nats"),
        f"One gradient ranks the heads with a Spearman correlation of {rank['value']:.2f}",
        f"Loss change of zeroing every head: the first-order estimate of one backward pass against "
        f"the sweep. Rank correlation {rank['value']:.2f} ({rank['lower']:.2f} to "
        f"{rank['upper']:.2f}): an estimate, never a replacement.",
    )


@app.cell
def verdicts(judged):
    mo.stop("claims" not in judged, mo.md("No claim of this chapter can be tested."))
    judged_claims(judged["claims"])


if __name__ == "__main__":
    app.run()
