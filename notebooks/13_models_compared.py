import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Models side by side")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.overview import models as views
    from analysis.overview.findings import findings
    from analysis.plots.bars import verdict_grid
    from analysis.plots.levels import ranked_heads
    from analysis.plots.points import best_by_label
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.atlas.views import LABELS
    from book.live import models_box, progress_bar, requested_each, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # The same questions, asked of several models
    """)


@app.cell(hide_code=True)
def found(agreed, model_requests):
    mo.md(f"""
    The models: **{"**, **".join(model_requests)}**. Of {sum(agreed.values())} claims that can be
    put to one of them or more, **{agreed[views.SAME]} have the same verdict in all**,
    **{agreed[views.APART]} have different ones**, and {agreed[views.SOME]} cannot be tested
    everywhere. Every model read the same text in its own tokens, and every bar is the same for
    all.
    """)


@app.cell
def which_models():
    models, compared_text = models_box()
    mo.hstack([models, compared_text], justify="start", widths=[2, 1])
    return compared_text, models


@app.cell
def ask_models(compared_text, models):
    model_requests = requested_each(models.value, compared_text.value)
    store = Store.open()
    mo.accordion({name: tokens_note(asked) for name, asked in model_requests.items()})
    return model_requests, store


@app.cell
def models_judged(model_requests, store):
    judged_by_model = {
        name: findings(asked, lambda q: store.recall(q, progress_bar))
        for name, asked in model_requests.items()
    }
    mo.stop(
        all(rows.is_empty() for rows in judged_by_model.values()),
        mo.md("Nothing that the chapters claim can be tested of any of the models."),
    )
    compared = views.verdict_rows(judged_by_model)
    agreed = views.agreement_counts(compared)
    return agreed, compared


@app.cell
def models_scored(model_requests, store):
    scores_by_model = {
        name: pl.concat(
            answer["head_scores"]
            for answer in (
                store.recall(AtlasStudy(asked).text_scores(), progress_bar),
                store.recall(AtlasStudy(asked).induction_scores(), progress_bar),
                store.recall(AtlasStudy(asked).successor_scores(), progress_bar),
                store.recall(AtlasStudy(asked).s_inhibition_scores(), progress_bar),
            )
            if "head_scores" in answer
        )
        for name, asked in model_requests.items()
    }
    best = views.best_heads(scores_by_model)
    return best, scores_by_model


@app.cell
def models_table(model_requests):
    views.model_table({name: asked.card for name, asked in model_requests.items()})


@app.cell(hide_code=True)
def best_text():
    mo.md("""
    ## The best head by each score

    The strongest head of a model is the maximum over all its heads, so that a model of more heads
    has more chances; the label beside it does not, since the whole interval of one head must lie
    above the same bar and above the control.
    """)


@app.cell
def best_chart(best, model_requests):
    alike = best.group_by("label").agg(pl.col("heads").min().alias("least"), pl.len())
    everywhere = alike.filter(pl.col("least") > 0, len=len(model_requests)).height
    best_by_label(
        best,
        f"{everywhere} of {len(LABELS)} labels are earned by a head of every model",
        "The strongest head of each model by each score: mean over sequences with its 95 % "
        "interval. The grey tick is what a label's interval must exceed.",
    )


@app.cell
def best_heads_table(best):
    views.best_table(best)


@app.cell
def choose_label(best):
    labels = best["label"].unique(maintain_order=True).to_list()
    compared_score = mo.ui.dropdown(labels, value=labels[0], label="score")
    compared_score
    return (compared_score,)


@app.cell
def ranked_chart(compared_score, scores_by_model):
    ranked = views.head_values(scores_by_model, compared_score.value)
    earning = ranked.group_by("model", maintain_order=True).agg(pl.col("earned").sum(), n=pl.len())
    told = ", ".join(f"{n} of {every} in {model}" for model, n, every in earning.iter_rows())
    ranked_heads(
        ranked,
        next(each.neutral for each in LABELS if each.label == compared_score.value),
        f"Heads that earn the label {compared_score.value}: {told}",
        "The score of every head of every model, the strongest first, with 95 % intervals over "
        "sequences.",
    )


@app.cell(hide_code=True)
def verdicts_text():
    mo.md("""
    ## The same claims

    A claim names the head that is strongest in its own model, chosen on sequences that it is not
    judged on. What a model's tokenizer, depth or decomposition does not allow to be asked is
    absent.
    """)


@app.cell
def choose_compared_claims(agreed):
    choices = views.agreement_choices(agreed)
    compared_claims = mo.ui.dropdown(choices, value=choices[0], label="claims")
    compared_claims
    return (compared_claims,)


@app.cell
def models_verdict_chart(agreed, compared, compared_claims):
    verdict_grid(
        views.rows_of(compared, compared_claims.value),
        f"{agreed[views.APART]} claims hold for one model and not, or not surely, for another",
        "The verdict on every claim for every model; the number is the estimate, the tooltip has "
        "its interval, control and threshold.",
    )


@app.cell
def models_verdict_table(compared, compared_claims, model_requests):
    views.verdict_table(views.rows_of(compared, compared_claims.value), model_requests)


if __name__ == "__main__":
    app.run()
