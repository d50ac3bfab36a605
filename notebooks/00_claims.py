import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="What holds")

with app.setup:
    import marimo as mo

    from analysis.overview import claims as views
    from analysis.overview.capabilities import ModelCheck, chapter_table, part_table
    from analysis.overview.findings import findings
    from analysis.overview.trainings import formation, headlines
    from analysis.overview.trainings.tables import appearance_table
    from analysis.plots.bars import verdict_bars
    from analysis.plots.graph import circuit_graph
    from analysis.plots.intervals import claim_intervals
    from analysis.studies import named_chapters
    from analysis.studies.atlas.study import AtlasStudy
    from analysis.studies.circuit import graph
    from analysis.studies.circuit.heads import circuit_heads
    from analysis.studies.circuit.study import CircuitStudy
    from analysis.studies.circuit_sets import edge_views
    from analysis.studies.circuit_sets import views as set_views
    from analysis.studies.circuit_sets.study import METHODS, CircuitSetStudy
    from analysis.training.measured import SHIPPED, Measured
    from book.live import boxes, progress_bar, requested, tokens_note
    from store import Store


@app.cell(hide_code=True)
def finding():
    mo.md("""
    # What holds, and what does not
    """)


@app.cell(hide_code=True)
def found(asked, claims):
    mo.md(f"""
    About the model **{asked.card.name}**, {views.counted(claims)} A claim is *supported* when
    its whole 95 % interval lies beyond the threshold, when it is more than its control *and* when
    p < .025 against its null, if it has one. It is *refuted* when the whole interval lies on the
    other side of the threshold, *not shown* when the control has more or p is not so small,
    *undecided* when an interval leaves it open, and *not testable* when its null is too small for
    any p < .025. {views.false_discoveries(claims)} Heads are chosen on one half of the sequences
    and judged on the other. Verdicts are computed from the store.
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
def answer(asked, store):
    claims = findings(asked, lambda question: store.recall(question, progress_bar))
    mo.stop(
        claims.is_empty(),
        mo.md(f"Nothing that the chapters claim can be tested of **{asked.card.name}**."),
    )
    return (claims,)


@app.cell
def model_answer(asked, store):
    checked = store.recall(ModelCheck.of(asked), progress_bar)
    return (checked,)


@app.cell
def counts(claims):
    verdict_bars(
        views.verdict_counts(claims),
        f"{claims.filter(verdict='supported').height} of {claims.height} claims are supported",
        "Claims by the chapter that argues them and by their verdict.",
    )


@app.cell
def circuit_answers(asked, store):
    asked_for = "02_induction_circuit" in named_chapters(asked.chapters)
    mo.stop(not asked_for, mo.md("The circuit is left out, as its chapter is."))
    hindered = CircuitStudy.hindrance(asked)
    mo.stop(hindered, mo.md(f"Of **{asked.card.name}** there is no circuit to show: {hindered}."))
    text = store.recall(AtlasStudy(asked).text_scores(), progress_bar)
    induction = store.recall(AtlasStudy(asked).induction_scores(), progress_bar)
    heads = circuit_heads(text, induction)
    composition = store.recall(CircuitStudy(asked).composition(), progress_bar)
    paths = store.recall(CircuitStudy(asked).path_patching(text, induction), progress_bar)
    sets = CircuitSetStudy(asked).evidence(lambda each: store.recall(each, progress_bar))
    between = CircuitSetStudy(asked).between(sets, lambda one: store.recall(one, progress_bar))
    worth = edge_views.edge_rows(between)
    return composition, heads, induction, paths, sets, text, worth


@app.cell(hide_code=True)
def circuit_text(asked, heads, sets):
    mo.md(f"""
    ## The circuit

    Every head of the model, and what one of them is to a later one. {heads.previous} is the
    previous-token head that lies below the strongest induction head, {heads.copiers[0]}. A
    *path* is measured: the contribution of one head is changed in one input of a later one, and
    nowhere else {{cite}}`wang2022ioi`. A *composition* is read from the weights alone
    {{cite}}`elhage2021framework`. {set_views.kept_said(sets, asked.seed)} The chapter on the
    induction circuit tests all of it.
    """)


@app.cell
def choose_edge(sets):
    first_edge = graph.Edge.LOSS if sets else graph.Edge.KEYS
    edge = mo.ui.dropdown(
        [each.value for each in graph.Edge], value=first_edge.value, label="an edge is a"
    )
    edge
    return (edge,)


@app.cell
def circuit_nodes(asked, heads, induction, sets, text):
    needs = set_views.needs(sets, METHODS[0].value, asked.seed)
    nodes = graph.nodes(text["head_scores"], induction["head_scores"], heads, needs)
    return (nodes,)


@app.cell
def circuit_picture(composition, edge, nodes, paths, worth):
    meaning = graph.Edge(edge.value)
    edges = graph.edges(meaning, composition, paths, worth)
    circuit_graph(
        nodes,
        edges,
        meaning.unit,
        graph.said(edges, meaning),
        f"Heads by layer; an edge goes upward, from the head that writes to the one that reads. "
        f"Its width is the {meaning.unit} ({meaning.value}). {graph.left_out(meaning)} The size of "
        "a head is the share of the gain on the second copy that is lost without it, where all "
        f"outside the circuit is replaced ({METHODS[0].value}), too.",
    )
    return edges, meaning


@app.cell
def circuit_edges(edges, meaning):
    mo.accordion({"The edges as a table": graph.edge_table(edges, meaning)})


@app.cell
def trainings_beside(asked, claims, store):
    mo.stop(not headlines.is_trained(asked), mo.md(headlines.NO_TRAINING))
    here = headlines.live(asked, claims, lambda q: store.recall(q, progress_bar), store.missing)
    trainings = headlines.beside(here, headlines.read(headlines.SHIPPED))
    return (trainings,)


@app.cell(hide_code=True)
def trainings_text(trainings):
    mo.md(f"""
    ## Other trainings, other texts

    {headlines.agreement_said(trainings)} A claim is matched by the role of its heads, which each
    training gives to heads of other names.
    """)


@app.cell
def trainings_table(trainings):
    headlines.side_by_side(trainings)


@app.cell
def first_appearances(trainings):
    trainings
    appeared = formation.appearances(Measured.read(SHIPPED).rows)
    mo.vstack([mo.md(f"{formation.order_said(appeared)}"), appearance_table(appeared)])


@app.cell(hide_code=True)
def claims_text(claims):
    mo.md(f"""
    ## The claims

    Each of the {claims.height} links to the figure or table that shows it, and to the run that
    weighed its evidence.
    """)


@app.cell
def choose_claims(claims):
    verdict = mo.ui.dropdown([views.EVERY, *views.VERDICTS], value=views.EVERY, label="verdict")
    chapter = mo.ui.dropdown(views.chapter_choices(claims), value=views.EVERY, label="chapter")
    mo.hstack([verdict, chapter], justify="start")
    return chapter, verdict


@app.cell
def chosen(chapter, claims, verdict):
    shown = views.chosen_claims(claims, verdict.value, chapter.value)
    return (shown,)


@app.cell
def claim_list(shown):
    views.claim_table(shown)


@app.cell
def intervals(shown):
    mo.stop(shown.is_empty(), mo.md("No claim of this chapter has this verdict."))
    mo.accordion(
        {
            "Their intervals": claim_intervals(
                shown,
                f"{shown.filter(verdict='supported').height} of {shown.height} are supported",
                "Every claim's estimate with its 95 % interval (colour and shape: verdict), its "
                "control (grey) and its threshold (tick), each on the scale of its own statistic.",
            )
        }
    )


@app.cell(hide_code=True)
def model_text(asked):
    mo.md(f"""
    ## The model

    What holds of **{asked.card.name}** was measured when it was loaded, and says what can be asked
    of it. What a chapter lacks is absent for a reason, never 0.
    """)


@app.cell
def model_parts(checked):
    part_table(checked["model_parts"])


@app.cell
def model_chapters(checked):
    chapter_table(checked["model_chapters"])


@app.cell(hide_code=True)
def reading():
    mo.md("""
    ## How to read a row

    *Estimate* and interval come from the sequences that the head was **not** chosen on; the
    interval is a bootstrap over whole sequences {cite}`efron1979bootstrap`, studentised where
    there are fewer than 64. The *control* is what the same statistic gives where the effect must
    be absent: uniform attention, or a second copy in random order. Where both have the same
    sequences they are compared sequence by sequence; *p* is then that of flipping signs, and
    elsewhere that of random heads or of random orders, *null* says from how many. The *threshold*
    is a constant of the room's code that has not changed since it was introduced there. The run
    names the model's hash, the parameters and the versions, and the {ref}`citation <citation>`
    says how to cite one number.
    """)


if __name__ == "__main__":
    app.run()
