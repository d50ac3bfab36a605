import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Methods and validity")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.overview import margins, methods
    from analysis.overview.findings import claims_and_checks
    from analysis.plots.intervals import ranking_checks, verdict_margins
    from analysis.plots.levels import published_drops
    from analysis.studies import named_chapters
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.atlas.views import bars
    from analysis.studies.published import views as published_views
    from analysis.studies.retrieval.study import RANKINGS, RetrievalStudy
    from analysis.tables import check_table
    from book.live import answered, boxes, progress_bar, requested
    from store import Store, described


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # What the numbers mean, and what would change them
    """)


@app.cell(hide_code=True)
def found(asked, doubled, nearest_claims, weighed_claims):
    mo.md(f"""
    With intervals twice as wide, as a quarter of the sequences would give,
    **{doubled.height} of {weighed_claims.height} verdicts** on **{asked.card.name}** would
    differ. {margins.nearest_said(nearest_claims)}
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
    return asked, store


@app.cell
def weigh(asked, store):
    weighed_claims, identities = claims_and_checks(asked, lambda q: store.recall(q, progress_bar))
    return identities, weighed_claims


@app.cell
def near(asked, weighed_claims):
    mo.stop(
        weighed_claims.is_empty(),
        mo.md(f"Nothing that the chapters claim can be tested of **{asked.card.name}**."),
    )
    nearest_claims = margins.margins(weighed_claims)
    doubled = margins.widened(weighed_claims, 2.0)
    return doubled, nearest_claims


@app.cell(hide_code=True)
def verdict_text():
    told = methods.verdict_meanings()
    lines = "\n".join(f"    - **{name}**: {text}" for name, text in told.items())
    mo.md(f"""
    ## What would change a verdict

    A verdict follows from the claim's 95 % interval and its threshold, from the interval of its
    distance to the control (paired where both have the same sequences), and from p and the size
    of its null. Thresholds are constants in the code that did not change since they were
    introduced.

{lines}

    The margin says how far both intervals would have to move to give another verdict, each in
    its own half-widths, p as it is: below 1 (dashed), an error of one half-width is enough.
    """)


@app.cell
def margin_chart(nearest_claims):
    shown_margins = nearest_claims.drop_nulls("margin").head(24)
    within = nearest_claims.filter(pl.col("margin") < 1).height
    verdict_margins(
        shown_margins,
        f"{within} of {nearest_claims.height} verdicts lie less than one half-width from another",
        f"The {shown_margins.height} claims whose intervals lie nearest to what decides them. "
        "Claims that are decided by more than their own interval are left out.",
    )


@app.cell
def choose_factor():
    factor = mo.ui.dropdown(
        {f"{factor:g} times as wide": factor for factor in margins.FACTORS},
        value=f"{margins.FACTORS[-1]:g} times as wide",
        label="if intervals were",
    )
    factor
    return (factor,)


@app.cell
def widened_table(factor, nearest_claims):
    changed = margins.widened(nearest_claims, factor.value)
    mo.vstack([mo.md(f"{changed.height} verdicts would differ:"), changed])


@app.cell
def all_margins(nearest_claims):
    mo.accordion({"Every margin": margins.margin_table(nearest_claims)})


@app.cell(hide_code=True)
def checks_text():
    mo.md("""
    ## Checks of the method itself

    *Identities*: what holds by definition, such as two ways to say the same intervention, and a
    third one that only looks like them; no claims, since only a mistake could break them.
    *Controls*: where an effect must be absent, the same statistic stays below the threshold, or the
    claim must exceed the control instead. *Rankings*: do the scores of heads come out again on
    other items, and do they say what ablation costs? Chance is what unrelated rankings give.
    """)


@app.cell
def identities_table(identities):
    mo.stop(identities.is_empty(), mo.md("Nothing that was asked has an identity to check."))
    check_table(identities)


@app.cell
def controls_table(nearest_claims):
    methods.control_rows(nearest_claims)


@app.cell
def retrieval_checked(asked, store):
    asked_for = "08_retrieval_heads" in named_chapters(asked.chapters)
    mo.stop(not asked_for, mo.md("Rankings of heads are left out, as the chapter on them is."))
    asked_retrieval = RetrievalStudy.of(asked)
    why_not = f"**{asked.card.name}** has no tokenizer, so that no ranking can be checked."
    mo.stop(asked_retrieval is None, mo.md(why_not))
    ranking_evidence = answered(asked_retrieval.evidence, lambda e: store.recall(e, progress_bar))
    retrieval_answer = store.recall(asked_retrieval.claims(ranking_evidence), progress_bar)
    return ranking_evidence, retrieval_answer


@app.cell
def checks_chart(ranking_evidence, retrieval_answer):
    checks = methods.check_rows([ranking_evidence.scores or {}, retrieval_answer])
    mo.stop(checks.is_empty(), mo.md("**Not testable.** No head was ranked on this model."))
    ranking_checks(
        checks,
        methods.checks_title(checks),
        "Checks of each ranking of heads with their 95 % ranges: Spearman correlations (split "
        "half, validity) and Jaccard overlaps of top heads; grey: unrelated rankings.",
    )
    return (checks,)


@app.cell
def checks_table(checks):
    checks.with_columns(pl.col("value", "lower", "upper", "chance").round(3))


@app.cell(hide_code=True)
def published_beside_text():
    mo.md(f"""
    ## Published, and ours

    Mean drop of accuracy in points when the top heads of a ranking, or random ones, are replaced.
    {published_views.published_source()}. Result files that were imported into this store stand
    beside them.
    """)


@app.cell
def published_rows(store):
    drops = published_views.published_drops(store.sql("FROM published_drops"))
    return (drops,)


@app.cell
def published_chart(drops):
    both = drops.pivot("of", index=("ranking", "heads"), values="top")
    gap = both.with_columns(gap=pl.col("as printed") - pl.col("result files"))
    widest = gap.sort("gap").row(-1, named=True)
    published_drops(
        published_views.published_beside(drops, None),
        f"At {widest['heads']} heads the printed drop is {widest['gap']:.1f} points above that of "
        "the study's own files",
        "Mean drop of accuracy by heads replaced, as the study printed it and as its result files "
        "have it; dashed: random heads.",
    )


@app.cell
def published_figures(drops):
    published_views.side_by_side(drops)


@app.cell
def ours_beside(asked, drops, retrieval_answer):
    mo.stop(
        "retrieval_curves" not in retrieval_answer,
        mo.md(f"**Not testable.** {asked.card.name} answers too few questions to lose any."),
    )
    ours = published_views.our_drops(retrieval_answer["retrieval_curves"], RANKINGS[1:])
    last = ours.sort("heads").row(-1, named=True)
    published_drops(
        published_views.published_beside(drops, ours),
        f"{asked.card.name} loses {last['top']:.0f} points with {last['heads']} heads, and "
        f"{last['random']:.0f} with random ones",
        "The same with the model of this page on its own questions: another model, with fewer "
        "heads and shorter contexts, and the same measure.",
    )
    return (ours,)


@app.cell
def our_figures(ours):
    published_views.published_beside(ours, None)


@app.cell(hide_code=True)
def meaning_text():
    mo.md("""
    ## What each number means

    The tables below are read from the code that computes the numbers: what a function says of
    itself is what is shown here.
    """)


@app.cell
def score_table():
    mo.vstack([mo.md("**Scores of heads and items**"), methods.score_meanings()])


@app.cell
def label_table():
    mo.vstack([mo.md("**What a label asks for**: conventions, the same for every model"), bars()])


@app.cell
def kind_table():
    mo.vstack([mo.md("**What stands in for a head**"), methods.kind_meanings()])


@app.cell
def statistics_table():
    mo.vstack([mo.md("**Intervals, p-values, correlations**"), methods.test_meanings()])


@app.cell
def question_table(store, weighed_claims):
    experiments = {(run, entry.experiment) for entry in store.log for run in entry.runs}
    mo.vstack(
        [
            mo.md(f"**The questions** that the {weighed_claims.height} claims rest on"),
            methods.question_meanings(name for _, name in experiments),
        ]
    )


@app.cell
def size_table(asked):
    shown = f"**Sizes**: this book shows the profile *{asked.sizes_said}*"
    mo.vstack([mo.md(shown), methods.size_table()])


@app.cell
def choose_table():
    comments = described().filter(kind="table")
    names = comments["table"].unique(maintain_order=True).to_list()
    stored_table = mo.ui.dropdown(names, value="head_scores", label="columns of the table")
    stored_table
    return comments, stored_table


@app.cell
def column_table(comments, stored_table):
    own = comments.filter(table=stored_table.value)
    mo.vstack(
        [
            mo.md(f"**{stored_table.value}**: {own['comment'][0]}."),
            own.drop_nulls("column").select("column", "type", "comment"),
        ]
    )


@app.cell(hide_code=True)
def limits_text():
    mo.md("""
    ## Known limits

    - **Intervals cover the sampling of sequences, and nothing else.** Another text, another
      tokenization or another training seed of the same recipe can move a number by more. Chapters
      03 and 05 show what a second text moves, of sinks and of rankings.
    - **A pattern is not an effect.** Scores say where a head looks; whether that matters is said by
      ablations and patched paths only.
    - **What stands in for a head is a choice.** Zeros take a model to places that it never visits;
      means and resampled values keep it nearer. Chapter 05 shows how much hangs on it.
    - **Ablation measures need, not use.** Later heads may make up for a loss, so that a head in use
      looks dispensable.
    - **The strongest head is chosen.** Choice and estimate use different sequences of one text.
    - **Many claims are judged at once.** Curves are adjusted over their sizes by Holm. Verdicts are
      not adjusted over the book, so that some near its bar is expected to be wrong; chapter 00
      says how many stay at a false-discovery rate of 5 %.
    - **Intervals of few sequences cover less of heavy tails**: log-normal values at 8 sequences in
      .90 of samples, at 32 in .92.
    - **Random sets are matched by size only.** They are drawn among all other heads; sets with as
      many heads in each layer exist only where the layers have heads enough.
    - **Small models are easy.** What holds of a model of this size need not hold of a larger one.
    """)


@app.cell
def absent_table(asked, store):
    asked_scores = (
        AtlasStudy(asked).text_scores(),
        AtlasStudy(asked).successor_scores(),
        AtlasStudy(asked).s_inhibition_scores(),
    )
    gaps = [store.recall(one, progress_bar).get("absences") for one in asked_scores]
    known_gaps = [gap.select("score", "data", "reason") for gap in gaps if gap is not None]
    schema = dict.fromkeys(("score", "data", "reason"), pl.String)
    missing = pl.concat([pl.DataFrame(schema=schema), *known_gaps])
    mo.vstack([mo.md(f"**{missing.height} scores could not be tested on this model:**"), missing])


if __name__ == "__main__":
    app.run()
