import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Induction circuit")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis import plots
    from analysis.experiments import Request
    from analysis.tables import beside, named, strongest
    from book.live import progress_bar
    from store import Store


@app.cell(hide_code=True)
def finding(behaviour, copier, previous):
    mo.md(f"""
    # The induction circuit: its two heads

    **{copier["name"]}** looks one past the previous copy with {copier["value"]:.2f} of its
    attention ({copier["lower"]:.2f} to {copier["upper"]:.2f}), and with
    {copier["control"]:.2f} when the second copy is shuffled. **{previous["name"]}** looks at the
    token before with {previous["value"]:.2f} ({previous["lower"]:.2f} to
    {previous["upper"]:.2f}). On a random block shown again, the model's loss falls by
    {-behaviour["value"]:.2f} nats per token. Both scores follow {{cite:t}}`olsson2022induction`.
    """)


@app.cell
def question():
    model = mo.ui.text(value=mo.cli_args().get("model") or "reference", label="model")
    model
    return (model,)


@app.cell
def ask(model):
    request = Request.of(model.value, mo.cli_args())
    store = Store.open()
    return request, store


@app.cell
def induction_answer(request, store):
    induction = store.recall(request.induction_scores(), progress_bar)
    return (induction,)


@app.cell
def text_answer(request, store):
    text = store.recall(request.text_scores(), progress_bar)
    return (text,)


@app.cell
def summarise_induction(induction):
    copying = beside(induction["head_scores"], "induction", "repeated", "shuffled")
    copier = strongest(copying)
    behaviour = (
        induction["model_scores"]
        .filter(pl.col("sequence").is_null(), score="second_minus_first_loss", data="repeated")
        .row(0, named=True)
    )
    return behaviour, copier, copying


@app.cell
def summarise_text(text):
    looking_back = beside(text["head_scores"], "previous_token", "text", "random")
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
    plots.against_control(
        copying,
        ("induction score", "induction score, second copy shuffled"),
        f"{copier['name']} scores {copier['value']:.2f} when the block is repeated, "
        f"{copier['control']:.2f} when it is shuffled",
        f"Induction score of every head on a repeated block against the shuffled control, with "
        f"95 % intervals over {copier['n']} sequences. Below the diagonal the control is larger.",
    )


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
    plots.induction_lag(
        around,
        f"{copier_name.value} peaks {place} the target, with {peak['value']:.2f}",
        f"Mean attention of {copier_name.value} to the tokens around the induction target, with "
        f"95 % bands over {peak['n']} sequences. A head that copies from another distance "
        "peaks elsewhere; one that goes by position alone is as high on the shuffled block. "
        "Dashed: uniform attention.",
    )


@app.cell
def copy_losses(behaviour, induction):
    both = induction["model_scores"].filter(
        pl.col("sequence").is_null(), pl.col("score").str.ends_with("copy_loss")
    )
    plots.losses(
        both.with_columns(copy=pl.col("score").str.replace_all("_", " ").str.strip_suffix(" loss")),
        f"Shown again, a block costs {-behaviour['value']:.2f} nats per token less",
        f"Mean next-token loss on either copy with 95 % intervals over {behaviour['n']} "
        "sequences; dashed: a uniform guess.",
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
    plots.against_control(
        looking_back,
        ("previous-token score, text", "previous-token score, random tokens"),
        f"{previous['name']} scores {previous['value']:.2f} in text, "
        f"{previous['control']:.2f} on random tokens",
        f"Previous-token score of every head in text against random tokens, with 95 % intervals "
        f"over {previous['n']} sequences. On the diagonal, position alone decides.",
    )


@app.cell
def offsets(previous, text):
    back = named(text["head_profiles"]).filter(profile="offset", name=previous["name"])
    near = back.filter(pl.col("lag") <= 16)
    plots.offset_profile(
        near,
        f"{previous['name']} puts {previous['value']:.2f} of its attention one back",
        f"Mean attention of {previous['name']} by distance, with 95 % bands over "
        f"{previous['n']} sequences; dashed: uniform attention.",
    )


@app.cell
def heads_table(copying, looking_back):
    copying.select("name", induction="value", shuffled="control").join(
        looking_back.select("name", previous_token="value", on_random_tokens="control"), on="name"
    ).sort("induction", descending=True)


if __name__ == "__main__":
    app.run()
