import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Head atlas")

with app.setup:
    import marimo as mo
    import polars as pl

    from analysis.interventions.heads import parse_heads
    from analysis.plots.curves import attention_profile
    from analysis.plots.grids import head_grid
    from analysis.plots.intervals import by_data
    from analysis.plots.patterns import pattern_pair
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.atlas.views import (
        LABELS,
        READ,
        atlas,
        bars,
        label_counts,
        measured_labels,
        pictured_menu,
        pictures,
        read_data,
    )
    from analysis.tables import beside, sink_rows, strongest
    from book.live import boxes, progress_bar, requested, tokens_note
    from store import Store

    GAP = ("score", "data", "reason")


@app.cell(hide_code=True)
def finding(asked, counts, heads):
    mo.md(f"""
    # What every head looks at

    **{heads["labels"].ne("").sum()} of {heads.height} heads** of **{asked.card.name}** earn at
    least one label: {", ".join(f"{n} {label}" for label, n in counts.iter_rows() if n) or "none"}.
    A label needs the whole 95 % interval of its score above the bar *and* above the control.
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
def text_answer(asked, store):
    text = store.recall(AtlasStudy(asked).text_scores(), progress_bar)
    return (text,)


@app.cell
def induction_answer(asked, store):
    induction = store.recall(AtlasStudy(asked).induction_scores(), progress_bar)
    return (induction,)


@app.cell
def successor_answer(asked, store):
    successor = store.recall(AtlasStudy(asked).successor_scores(), progress_bar)
    return (successor,)


@app.cell
def gifts_answer(asked, store):
    gifts = store.recall(AtlasStudy(asked).s_inhibition_scores(), progress_bar)
    return (gifts,)


@app.cell
def gather(gifts, induction, successor, text):
    answers = [text, induction, successor, gifts]
    scores = pl.concat([a["head_scores"] for a in answers if "head_scores" in a])
    gaps = [a["absences"].select("score", "data", "reason") for a in answers if "absences" in a]
    absences = pl.concat([pl.DataFrame(schema=dict.fromkeys(GAP, pl.String)), *gaps])
    heads = atlas(scores)
    counts = label_counts(heads)
    data = read_data(text)
    return absences, counts, data, heads, scores


@app.cell
def atlas_table(heads):
    heads.with_columns(pl.selectors.float().round(3))


@app.cell
def label_bars():
    mo.vstack([mo.md("What each label asks for:"), bars()])


@app.cell
def choose_score(scores):
    labels = measured_labels(scores)
    score = mo.ui.dropdown(labels, value=labels[0], label="score")
    score
    return (score,)


@app.cell
def grid(asked, score, scores):
    chosen = next(each for each in LABELS if each.label == score.value)
    shown = scores.filter(pl.col("sequence").is_null(), score=chosen.name, data=chosen.data)
    top = shown.sort("value").row(-1, named=True)
    head_grid(
        shown,
        asked.card.n_layers,
        chosen.neutral,
        f"L{top['layer']}H{top['head']} leads as {chosen.label} head, at {top['value']:.2f}",
        f"Score {chosen.name} of every head on {chosen.data}: mean over {top['n']} sequences; "
        "the tooltip has the 95 % interval and chance.",
    )


@app.cell
def patterns_answer(asked, scores, store, text):
    more = [store.recall(one, progress_bar) for one in AtlasStudy(asked).patterns(scores)]
    patterns, prompts = pictures([text, *more])
    return patterns, prompts


@app.cell
def choose_head(data, patterns, scores, text):
    menu = pictured_menu(patterns, scores)
    rows = beside(text["head_scores"], "previous_token", data, "random")
    names = list(menu.values())
    first = strongest(rows.filter(pl.col("name").is_in(names)))["name"]
    head = mo.ui.dropdown(menu, value=list(menu)[names.index(first)], label="head")
    head
    return (head,)


@app.cell
def pattern(data, head, patterns, prompts):
    pattern_pair(
        patterns.filter(name=head.value),
        prompts,
        f"Where {head.value} looks in {READ[data]}",
        f"Attention of {head.value} over the first positions, mean over sequences and on the "
        "first one. Position 0 holds BOS where the model has one.",
    )


@app.cell
def profile(asked, data, head, text):
    at = parse_heads([head.value], asked.card)[0]._asdict()
    profiles = text["head_profiles"].filter(profile="offset", **at)
    sources = " and on ".join(READ[each] for each in READ if each in set(profiles["data"]))
    peak = profiles.filter(pl.col("lag") > 0, data=data).sort("value").row(-1, named=True)
    attention_profile(
        profiles,
        "tokens back",
        f"{head.value} peaks {peak['lag']} back in {READ[data]}, at {peak['value']:.2f}",
        f"Mean attention of {head.value} to the token d back, on {sources}, with "
        f"95 % bands over {peak['n']} sequences; dashed: uniform attention.",
    )


@app.cell(hide_code=True)
def sink(text):
    sinks = sink_rows(text["head_scores"])
    top_sink = strongest(sinks)
    mo.md(f"""
    ## Position 0

    {top_sink["name"]} puts {top_sink["value"]:.2f} ({top_sink["lower"]:.2f} to
    {top_sink["upper"]:.2f}) of its attention on position 0 in {top_sink["data"]}; uniform
    attention would put {top_sink["chance"]:.2f} there. How much of that depends on the text is in
    chapter 03. What changes when position 0 holds an ordinary token instead
    {{cite}}`xiao2023sinks`:
    """)
    return (sinks,)


@app.cell
def bos_or_word(sinks):
    by_data(
        sinks,
        "Attention to position 0, with BOS there and with an ordinary token",
        "Mean attention to position 0 of every head, with 95 % intervals: text after BOS, the "
        "same text without it, and random tokens after BOS.",
    )


@app.cell
def untested(absences):
    mo.stop(absences.is_empty(), mo.md("Every score could be tested on this model."))
    mo.vstack(
        [
            mo.md(
                f"**{absences.height} scores could not be tested on this model.** Such a score is "
                "absent here, never 0."
            ),
            absences,
        ]
    )


if __name__ == "__main__":
    app.run()
