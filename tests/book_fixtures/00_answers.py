import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import polars as pl
    from fixture_scores import FixtureScores

    from store import Store

    store = Store.open()


@app.cell(hide_code=True)
def title():
    mo.md(r"""
    # Answers

    What the heads do, after {cite:t}`olsson2022induction`;
    see {ref}`01_controls` and {numref}`fig-bars`.
    """)


@app.cell
def answer():
    scores = store.recall(FixtureScores(layer=0))
    return (scores,)


@app.cell
def verdicts(scores):
    pl.DataFrame(
        {
            "claim": ["one head leads", "none leads"],
            "claim_link": ["01_controls#bars", "#verdicts"],
            "estimate": [scores["head_scores"]["value"].max(), None],
            "evidence_link": [[f"run:{run}" for run in scores.runs], []],
        }
    )


@app.cell(hide_code=True)
def best(scores):
    _top = scores["head_scores"]["value"].max()
    mo.md(f"The strongest head scores **{_top:.3f}**.")


if __name__ == "__main__":
    app.run()
