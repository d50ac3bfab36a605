import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Retrieval heads")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.plots.intervals import claim_intervals
    from analysis.plots.levels import accuracy_curves, method_curves, share_map
    from analysis.studies.circuit.views import said
    from analysis.studies.published import NO_FILES
    from analysis.studies.published import views as published_views
    from analysis.studies.retrieval import views
    from analysis.studies.retrieval.choice_views import choices
    from analysis.studies.retrieval.claims import AREA
    from analysis.studies.retrieval.study import N_RECORDS, RANKINGS, RetrievalStudy
    from analysis.tables import judged_claims
    from book.live import answered, boxes, progress_bar, requested, studied, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # Which heads fetch an answer from its context?
    """)


@app.cell(hide_code=True)
def retrieval_summary(asked, base_claim, claims, half, plan):
    told = said(claims, "retrieval_against_random")
    mo.md(f"""
    **{asked.card.name}** answers {base_claim.estimate} of the questions about one record among
    several (by chance {base_claim.control}), and finds the right record's answer the most probable
    in {said(claims, "retrieval_prefers").estimate} of them. Without the top {half["size"]} of
    {len(plan.heads)} heads by summed attention ({half["heads"].replace(",", ", ")}) it answers
    {half["accuracy"]:.2f} ({half["lower"]:.2f} to {half["upper"]:.2f}). Averaged over the curve,
    replacing the top heads costs {told.estimate} more of all answers than random heads, or more by
    other rankings (**{told.verdict}**).
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
    study = studied(RetrievalStudy, asked)
    return (study,)


@app.cell
def evidence_answer(store, study):
    evidence = answered(study.evidence, lambda e: store.recall(e, progress_bar))
    plan = evidence.plan
    return evidence, plan


@app.cell
def judged(evidence, store, study):
    judged_all = store.recall(study.claims(evidence))
    claims = judged_all["claims"]
    base_claim = said(claims, "retrieval_baseline")
    return base_claim, claims, judged_all


@app.cell
def gather_curves(asked, base_claim, evidence, judged_all):
    lines = views.absence_lines(judged_all)
    mo.stop(
        "retrieval_curves" not in judged_all,
        mo.md(
            f"**Not testable.** {asked.card.name} answers {base_claim.estimate} of the "
            f"questions (by chance {base_claim.control}), so that no head is replaced.\n\n{lines}"
        ),
    )
    drawn_curves = judged_all["retrieval_curves"]
    half = views.half_lost(drawn_curves, RANKINGS[0])
    replaced = evidence
    return drawn_curves, half, lines, replaced


@app.cell
def retrieval_claims_chart(claims):
    claim_intervals(
        claims,
        f"{claims.filter(verdict='supported').height} of {claims.height} claims about retrieval "
        "heads are supported",
        "Every claim's estimate with its 95 % interval (colour: verdict), its control (grey) and "
        "its threshold (tick).",
    )


@app.cell
def retrieval_claims_table(claims):
    judged_claims(claims)


@app.cell(hide_code=True)
def task_text(evidence, lines, study):
    left_out = f"\n\nLeft out:\n\n{lines}" if lines else ""
    mo.md(f"""
    ## The task

    A context of {study.n_tokens} tokens holds {N_RECORDS} records of firms among other
    sentences; a question asks for one fact of one firm. {study.sizes.n_items} questions on each
    of {len(evidence.base)} facts. An answer is right if it begins with the gold answer as a whole
    word or number. Heads are ranked on other items: other names, values and templates.

    Heads are replaced by zeros at every position of prompt and answer. **Random** sets are drawn
    among all other heads, **layer matched** ones with as many heads in each layer; neither holds a
    judged head or one that is known to lie upstream. Where there are no more sets than draws, all
    are shown.{left_out}
    """)


@app.cell(hide_code=True)
def choices_text(evidence, study):
    short = "" if len(evidence.choices) > 1 else " With a worked example they do not fit."
    mo.md(f"""
    ## Said, and preferred

    A model may know the answer and begin with other words. So every question is asked twice: what
    greedy decoding says, and which of the {N_RECORDS} records' answers is the most probable behind
    the question, by the log probability of all its tokens. A worked example is another statement
    of the same fact, the question about it and its answer, before the context of
    {study.n_tokens} tokens.{short}
    """)


@app.cell
def choices_table(evidence):
    choices(evidence.choices)


@app.cell
def choose_fact(drawn_curves):
    names = views.facts(drawn_curves)
    fact = mo.ui.dropdown(names, value=names[0], label="question")
    fact
    return (fact,)


@app.cell
def curves_by_ranking(drawn_curves, fact, half):
    shown = views.by_ranking(drawn_curves, fact.value)
    top = shown.filter(family="top")
    accuracy_curves(
        shown,
        f"Without its top {half['size']} heads by summed attention the model answers "
        f"{half['accuracy']:.2f} of all questions",
        f"Share of {top['n'][0]} questions answered without the top heads of each ranking (Wilson "
        "95 %), and without random heads (mean and 95 % of the draws). The tooltip of a top set "
        "has the exact McNemar p against the model as it is, that of draws the permutation p.",
    )


@app.cell
def choose_ranking(replaced):
    mo.stop(not replaced)
    ranking = mo.ui.dropdown(list(RANKINGS), value=RANKINGS[0], label="ranking")
    ranking
    return (ranking,)


@app.cell
def curves_by_question(drawn_curves, ranking):
    asked_facts = views.by_question(drawn_curves, ranking.value)
    last = asked_facts.filter(family="top").sort("size").group_by("fact").last()
    lowest = last.sort("accuracy", "fact").row(0, named=True)
    accuracy_curves(
        asked_facts,
        f"By {ranking.value.replace('_', ' ')}, questions about {lowest['fact']} fall to "
        f"{lowest['accuracy']:.2f}",
        f"The same for each question, {lowest['n']} items each.",
    )


@app.cell
def curve_points(drawn_curves, ranking):
    drawn_curves.filter(ranking=ranking.value, method="zero").select(
        *("fact", "family", "size", "heads"),
        pl.col("accuracy", "lower", "upper", "log_p", "p", "p_holm").round(3),
        "n",
    )


@app.cell(hide_code=True)
def null_title(replaced):
    judged_heads = replaced.plan.judged_level
    mo.md(f"""
    ## What random heads are

    As many as the {judged_heads} that are judged.
    """)
    return (judged_heads,)


@app.cell(hide_code=True)
def null_text(judged_heads, ranking, replaced):
    above = ", ".join(map(str, replaced.plan.upstream[ranking.value])) or "none"
    mo.md(f"""
    A head that everything in later layers needs is no control for these. Heads in earlier layers
    than all top {judged_heads} heads that cost {AREA:.0%} of the questions or more alone count as
    upstream: {above}. Random sets of {judged_heads} heads cost, as a share of all questions, by
    the upstream heads that they hold (only those with none judge):
    """)


@app.cell
def null_table(ranking, replaced):
    views.null_sets(replaced, ranking.value).with_columns(pl.selectors.float().round(3))


@app.cell(hide_code=True)
def methods_text(replaced):
    alike, apart = views.uniform_differences(replaced)
    mo.md(f"""
    ## What stands in for a head

    The same sets under every kind of ablation. `mean` is over other items, `resample` takes what
    the head reads on another one. `uniform` and a query of 0 are one intervention: the log
    probability of a right answer differs by {alike:.1g} nats at most; from `zero` it differs by up
    to {apart:.2f}. Kinds shown:
    {", ".join(f"`{name}`" for name in (replaced.method, *replaced.kinds))}.
    """)


@app.cell
def curves_by_method(drawn_curves, half):
    methods = views.by_method(drawn_curves, RANKINGS[0])
    at_half = methods.filter(size=half["size"]).sort("accuracy", "method")
    harshest, mildest = at_half.row(0, named=True), at_half.row(-1, named=True)
    method_curves(
        methods,
        f"Without {half['size']} heads from {harshest['accuracy']:.2f} ({harshest['method']}) to "
        f"{mildest['accuracy']:.2f} ({mildest['method']}) are answered",
        f"Share of {harshest['n']} questions answered without the top heads by summed attention, "
        "with Wilson 95 % intervals.",
    )


@app.cell(hide_code=True)
def overlap_text(replaced):
    mo.md(f"""
    ## The same heads?

    Jaccard overlap of the top heads of every two of {len(replaced.plan.rankings)} rankings, and
    what the heads that all of them share cost together.
    """)


@app.cell
def overlap_table(replaced):
    views.overlaps(replaced.plan)


@app.cell
def overlap_drop_table(drawn_curves):
    views.overlap_drops(drawn_curves)


@app.cell
def heat_answer(evidence, store, study):
    every = (one for one in study.heat() if one.fact in evidence.base)
    base_answers = [store.recall(one, progress_bar) for one in every]
    return (base_answers,)


@app.cell
def needle_map(base_answers):
    places = views.needle(base_answers)
    worst = places.sort("accuracy", maintain_order=True).row(0, named=True)
    share_map(
        places,
        ("context", "depth of the answer"),
        f"At every depth and length at least {worst['accuracy']:.2f} are answered",
        "Share of questions answered by the model as it is, all facts together; about "
        f"{worst['n']} questions in each cell, Wilson intervals in the tooltip.",
    )


@app.cell
def grid_answer(evidence, store, study):
    cells = [
        store.recall(
            study.cell(lambda e: store.recall(e, progress_bar), one, n_tokens, ()), progress_bar
        )
        for n_tokens in study.lengths
        for one in evidence.base
    ]
    mo.stop(
        not any("retrieval_curves" in cell for cell in cells),
        mo.md("**Not testable.** Too few questions of any one cell are answered to replace heads."),
    )
    return (cells,)


@app.cell
def choose_size(cells, plan):
    sizes = {str(n): n for n in views.grid_sizes(cells)}
    size = mo.ui.dropdown(sizes, value=str(plan.levels[:2][-1]), label="heads replaced")
    size
    return (size,)


@app.cell
def retrieval_grid(cells, ranking, size):
    found = views.grid(cells, ranking.value, size.value)
    fewest = found.sort("accuracy", maintain_order=True).row(0, named=True)
    share_map(
        found,
        ("context", "question"),
        f"Without {size.value} heads the lowest of {found.height} cells is "
        f"{fewest['accuracy']:.2f}: {fewest['fact']}, {fewest['across']}",
        f"Share of {fewest['n']} questions answered in each cell with the top heads by "
        f"{ranking.value.replace('_', ' ')} replaced by zeros. Cells of other models: "
        "headbook grid.",
    )


@app.cell(hide_code=True)
def published_text():
    mo.md(f"""
    ## Published, and ours

    Mean drop of accuracy in points when the top heads of a ranking, or random ones, are replaced.
    {published_views.published_source()}.
    """)


@app.cell
def published_table(judged_all):
    published_views.published_beside(
        published_views.published_drops(NO_FILES),
        published_views.our_drops(judged_all["retrieval_curves"], RANKINGS[1:])
        if "retrieval_curves" in judged_all
        else None,
    )


if __name__ == "__main__":
    app.run()
