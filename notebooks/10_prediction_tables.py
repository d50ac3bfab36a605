import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Prediction tables")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.plots.differences import condition_effects
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.circuit.heads import previous_token_head
    from analysis.studies.predictions import views
    from analysis.studies.predictions.study import PredictionStudy
    from analysis.text.shown import chips, token_table
    from book.live import boxes, progress_bar, requested, studied, tokens_note
    from store import Store

    TOP_K = 8


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # What is predicted without it?
    """)


@app.cell(hide_code=True)
def found(asked, changes, subject):
    crafted = changes.filter(group="crafted prompts", condition=f"zero {subject} at t")
    value = changes.filter(group="crafted prompts", condition=f"values t-1, {subject}")
    everything = changes.filter(group="crafted prompts", condition="values before t, all layers")
    sampled = changes.filter(group="samples of text", condition=f"zero {subject} at t")
    mo.md(f"""
    **{subject}** is the strongest previous-token head of **{asked.card.name}**. Zeroed where the
    model predicts, the most probable token is another one on
    **{crafted["changed"][0]} of {crafted["n"][0]}** crafted prompts and on
    {sampled["changed"][0]} of {sampled["n"][0]} samples of text. Without only the value that it
    reads from the token before: on {value["changed"][0]} of {value["n"][0]}. Without any value
    before the last position in any layer: on {everything["changed"][0]} of {everything["n"][0]}.
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
def choose_subject(asked, store):
    study = studied(PredictionStudy, asked)
    text = store.recall(AtlasStudy(asked).text_scores(), progress_bar)
    subject = str(previous_token_head(text))
    return study, subject


@app.cell
def tables_answer(store, study, subject):
    tabled = study.tables(subject)
    tables = store.recall(tabled, progress_bar)
    after_bos = tables["prompts"].filter(pl.col("position") >= int(tabled.bos))
    labels = views.menu(after_bos, tabled.categories())
    return labels, tables


@app.cell
def summarise_tables(tables):
    changes = views.top_changes(tables["ablation_means"])
    effects = views.condition_means(tables["ablation_means"], "kl_base_ablated")
    return changes, effects


@app.cell(hide_code=True)
def tables_text(subject, tables):
    crafted_conditions = tables["ablations"].filter(pl.col("condition") != "target")["condition"]
    mo.md(rf"""
    ## What is done

    A prompt ends at position $t$, which counts BOS; the model predicts the token after it, once as
    it is (*target*) and once under each of: {"; ".join(crafted_conditions)}. *Zero* makes
    {subject} write nothing at $t$. *Values* keeps every pattern and makes the values at earlier
    positions 0, before any head can read them: what those heads carry from there is gone, what
    they look at is not. A condition that needs a position before the first one is left out.
    """)


@app.cell
def effects_chart(effects, subject):
    shown = effects.filter(group="crafted prompts")
    largest = shown.sort("value").row(-1, named=True)
    alone = shown.row(by_predicate=pl.col("condition") == f"zero {subject} at t", named=True)
    condition_effects(
        effects,
        "target",
        f"Without {subject} at t predictions move by {alone['value']:.2f} nats; "
        f"under {largest['condition']} by {largest['value']:.1f}",
        "KL(target || ablated) of the prediction at t, with 95 % intervals over "
        f"{alone['n']} crafted prompts and {effects['n'].min()} samples of text.",
    )


@app.cell
def changes_table(changes):
    told = pl.format("{} of {}", "changed", "n").alias("changed")
    changes.with_columns(told).pivot("group", index="condition", values="changed")


@app.cell(hide_code=True)
def one_prompt_text(tables):
    mo.stop(not tables)
    mo.md("""
    ## One prompt at a time

    The chips are the prompt's tokens: $t$ blue, the position before it yellow; a dot is a space.
    In the table, *predicts* is the most probable token under the condition, beside the change of
    the logit of the token that the baseline predicts. Then come the tokens whose logits rose most
    (green) and fell most (red).
    """)


@app.cell
def choose_prompt(labels):
    prompt = mo.ui.dropdown(labels, value=next(iter(labels)), label="prompt")
    prompt
    return (prompt,)


@app.cell
def prompt_chips(prompt, tables):
    tokens = tables["prompts"].filter(text=prompt.value).sort("position")["token"].to_list()
    mo.Html(chips(tokens, len(tokens) - 1))


@app.cell
def prompt_table(prompt, tables):
    mo.Html(token_table(tables["predictions"].filter(text=prompt.value), TOP_K))


if __name__ == "__main__":
    app.run()
