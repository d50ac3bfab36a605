import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="When do heads form?")

with app.setup:
    import marimo as mo

    from analysis.overview.trainings import formation as views
    from analysis.overview.trainings import tables
    from analysis.plots.steps import formation
    from analysis.training.measured import SHIPPED, Measured


@app.cell(hide_code=True)
def finding(appeared):
    mo.md(f"""
    # When do heads form?

    {views.order_said(appeared)}
    """)


@app.cell(hide_code=True)
def trained(measured):
    mo.md(views.trained_said(measured.rows, measured.recipe["n_steps"]))


@app.cell
def measured_rows():
    measured = Measured.read(SHIPPED)
    appeared = views.appearances(measured.rows)
    return appeared, measured


@app.cell(hide_code=True)
def formation_text(measured):
    mo.md(f"""
    ## What appears when

    The recipe of the reference model was trained from {measured.rows["seed"].n_unique()} seeds,
    which differ in their first weights, their tokenizer and the order of their rows. Weights were
    kept at {measured.rows["step"].n_unique()} steps: log-spaced ones, and closer ones where the
    loss on a second copy was seen to fall. Something has *appeared* at the first kept step from
    which on, at all later ones too, its whole 95 % interval lies above its
    bar: what the atlas asks for a label, or what the claim on copying asks for. What happened
    between two kept steps nobody saw, so that what appears at the same kept step has no order.
    The strongest head of a kind is chosen anew at every step, on every second sequence, and
    measured on the others. The model of step 0, random weights, is the control: it has none of
    them. `headbook train-reference` keeps the weights, `headbook measure-training` measures them.
    """)


@app.cell
def formation_curves(appeared, measured):
    formation(
        views.curve_rows(measured.rows),
        views.bracket_rows(appeared),
        views.order_title(appeared),
        "The strongest head of each kind, and what a block of random tokens shown again gains, by "
        "steps of training: 95 % intervals over sequences. Dashed: the bar; along it, from the "
        "last kept step before to the first kept step at which it is passed for good.",
    )


@app.cell
def appearances_table(appeared):
    tables.appearance_table(appeared)


@app.cell(hide_code=True)
def finished_text():
    mo.md("""
    ## Beside the finished models

    The last kept models, and those that two trainings of the same recipe ended in: the model of
    this book, and a second seed whose weights are not kept. The finished ones were measured on
    more items of the same kinds.
    """)


@app.cell
def finished_models(measured):
    tables.finished_table(measured.rows)


@app.cell
def choose_seed(measured):
    seeds = views.curve_rows(measured.rows)["seed"].unique(maintain_order=True).to_list()
    shown_seed = mo.ui.dropdown(seeds, value=seeds[0], label="every number of")
    shown_seed
    return (shown_seed,)


@app.cell
def seed_steps(measured, shown_seed):
    tables.step_table(measured.rows, shown_seed.value)


@app.cell
def statistics_meant():
    mo.accordion({"What was measured": tables.meaning_table()})


if __name__ == "__main__":
    app.run()
