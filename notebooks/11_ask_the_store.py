import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Ask the store")

with app.setup:
    import marimo as mo

    from book.live import answered
    from book.sql_console import Console
    from book.sql_queries import QUERIES
    from store import Store

    COLUMNS = "SELECT table_name AS table, column_name AS column, data_type AS type, comment"


@app.cell(hide_code=True)
def finding():
    mo.md(f"""
    # Ask the store

    Every number in this book is a row of a table, and every table answers SQL. Below are
    {len(QUERIES)} questions to start from; change them, or write your own. On a web page DuckDB
    runs in your browser, on a copy of the results: nothing that you ask leaves this page. In a
    live notebook the same questions go to the store itself.
    """)


@app.cell
def console():
    mo.stop(not mo.running_in_notebook(), Console(QUERIES))
    titles = {query.title: query.sql for query in QUERIES}
    example = mo.ui.dropdown(titles, value=QUERIES[0].title, label="start from", full_width=True)
    store = Store.open()
    example
    return example, store


@app.cell
def write_query(example, store):
    columns = store.sql(f"{COLUMNS} FROM duckdb_columns() WHERE NOT internal")
    query = mo.ui.text_area(example.value, label="query", rows=12, full_width=True)
    mo.vstack([query, mo.accordion({"Tables and columns": columns})])
    return (query,)


@app.cell
def query_answer(query, store):
    asked = answered(store.sql, query.value)
    asked


if __name__ == "__main__":
    app.run()
