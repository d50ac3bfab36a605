import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="What does it cost?")

with app.setup:
    import marimo as mo

    from analysis.plots.differences import race_seconds
    from analysis.studies.speed import Task, views
    from book.live import progress_bar
    from store import Store


@app.cell(hide_code=True)
def finding(largest_scores, largest_sweep):
    mo.md(f"""
    # What does it cost?

    {views.told(largest_sweep)}. Ours shares what conditions have in common, and needs
    {views.saved(largest_sweep):.0%} of the operations of a whole pass for every head.

    {views.told(largest_scores)}.
    """)


@app.cell
def open_store():
    store = Store.open()
    return (store,)


@app.cell
def speed_answers(store):
    asked = views.questions(str(mo.cli_args().get("profile") or "quick"))
    *own_races, own_growth = [store.recall(one, progress_bar) for one in asked]
    return own_growth, own_races


@app.cell
def every_race(own_races, store):
    own_races
    measurements = views.measured(store.sql("FROM speed"))
    largest_sweep = views.largest(measurements, Task.A)
    largest_scores = views.largest(measurements, Task.S)
    return largest_scores, largest_sweep, measurements


@app.cell(hide_code=True)
def races_text():
    mo.md(f"""
    ## Side by side

    Everybody does the same task on the same random tokens in one process, lap by lap in turn, so
    that a busy machine hits all alike: first one warm-up each, then rounds in which another
    contender begins each time. **A**: {Task.A.value}. **S**: {Task.S.value}. *Plain hooks* are
    those of transformers; the libraries are used in the best form that we know of. *Ours* in
    bfloat16 is a preview with a measured error, never a replacement. A ratio is of medians over
    rounds; beside it stand the smallest and the largest ratio within one round.

    This page times a small task itself, once for every machine and version. A larger one that
    `headbook bench` timed into the same store is shown too.
    """)


@app.cell
def choose_race(largest_sweep, measurements):
    labels = measurements["measurement"].unique(maintain_order=True).to_list()
    shown_race = mo.ui.dropdown(labels, value=largest_sweep["measurement"][0], label="measurement")
    shown_race
    return (shown_race,)


@app.cell
def race_chart(measurements, shown_race, store):
    contenders = measurements.filter(measurement=shown_race.value)
    laps = store.sql("FROM timings WHERE run = ? ORDER BY lap", [contenders["run"][0]])
    race_seconds(
        laps,
        f"{views.nearest(contenders)} as ours",
        f"Every lap of {shown_race.value}: points; the line spans them, the tick is their median.",
    )
    return (contenders,)


@app.cell
def race_contenders(contenders):
    views.contender_table(contenders)


@app.cell(hide_code=True)
def columns_text():
    mo.md("""
    *Difference* is the largest one to plain hooks, of KL in nats (A) or of any score (S). *Extra
    MiB* is the peak of memory above what was held before a lap. *GFLOP* are those of all matrix
    products, counted and not timed. *Of the matmul rate*: operations a second over those of one
    large float32 product on the same machine in the same minutes.
    """)


@app.cell(hide_code=True)
def growth_text():
    mo.md("""
    ## How cost grows

    One quantity doubles, and doubles again; the others stay. The exponent is the slope of a
    straight line through the logarithms: 1 is in proportion, 2 is as the square. A head in a later
    layer costs less, since only the layers behind it run again.
    """)


@app.cell
def growth_exponents(own_growth, store):
    own_growth
    views.growth_table(store.sql("FROM cost_growth ORDER BY axis, run, size"))


@app.cell(hide_code=True)
def machine_text():
    mo.md("""
    ## What it was measured on

    Seconds are those of one machine, on which other work may have run: ratios carry over better,
    and operations exactly.
    """)


@app.cell
def measured_on(measurements):
    views.race_table(measurements)


if __name__ == "__main__":
    app.run()
