import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lab")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.interventions import Method
    from analysis.plots.patterns import effects_along, prompt_pattern
    from analysis.studies.predictions import views
    from analysis.text.shown import chips, token_table
    from book.live import answered, progress_bar, requested
    from store import Store

    TOP_K = 10
    PICTURED = 48
    EXAMPLE = "Tom gave Anna a coin. Anna gave Tom a"


@app.cell(hide_code=True)
def welcome():
    mo.md("""
    # Lab

    Type a prompt, choose a head, what stands in for it and where, and see what the model predicts
    instead. Everything runs at once; answers are stored, so that the same question probed again is
    answered from disk.
    """)


@app.cell
def choose_lab_model():
    model = mo.ui.text(value=mo.cli_args().get("model") or "reference", label="model")
    model
    return (model,)


@app.cell
def open_lab(model):
    asked = requested(model.value, "reference")
    store = answered(Store.open)
    return asked, store


@app.cell
def type_prompt(asked):
    prompt = mo.ui.text_area(
        value=EXAMPLE,
        label=f"prompt for {asked.card.name}",
        debounce=400,
        rows=3,
        full_width=True,
    )
    prompt
    return (prompt,)


@app.cell
def choose_intervention(asked):
    card = asked.card
    names = [f"L{i}H{j}" for i in range(card.n_layers) for j in range(card.n_heads)]
    methods = [method.value for method in Method]
    choice = mo.ui.dictionary(
        {
            "head": mo.ui.dropdown(names, value=names[0], label="head"),
            "method": mo.ui.dropdown(methods, value=Method.ZERO_VALUE.value, label="method"),
            "place": mo.ui.dropdown(list(views.PLACES), value="t-1", label="acts at"),
        }
    )
    choice.hstack(justify="start")
    return (choice,)


@app.cell
def choose_t(asked, prompt):
    words = views.words_of(asked, prompt.value)
    places = views.token_menu(words)
    position = mo.ui.dropdown(places, value=next(reversed(places), None), label="predict after t")
    position
    return position, words


@app.cell
def show_chips(position, words):
    t = position.value or 0
    mo.Html(chips(words, t))
    return (t,)


@app.cell
def probe(asked, choice, prompt, store, t):
    probed = answered(views.probe_of, asked, prompt.value, choice.value, t)
    answer = answered(store.recall, probed, progress_bar)
    head = probed.head
    return answer, head


@app.cell
def show_table(answer):
    mo.Html(token_table(answer["predictions"], TOP_K))


@app.cell
def show_effects(answer, t):
    effects = views.place_effects(answer)
    here = effects.row(t, named=True)
    effects_along(
        effects,
        t,
        f"After t the prediction moves by {here['kl_base_ablated']:.3f} nats",
        "KL(target || ablated) of the prediction after every position; t in orange.",
    )


@app.cell
def show_pattern(answer, head, t):
    first = max(0, t - PICTURED + 1)
    near = pl.all_horizontal(pl.col("query", "key").is_between(first, t))
    prompt_pattern(
        answer["patterns"].filter(near),
        answer["prompts"],
        f"Where {head} looks, up to t",
        f"Attention of {head} on the prompt, over the last {PICTURED} positions up to t; "
        "beside it under the intervention, where that changes it.",
    )


if __name__ == "__main__":
    app.run()
