/* The console: DuckDB in the reader's browser, over the results that lie beside this page. */
(() => {
  "use strict";
  const [MOST_ROWS, MOST_COPIED] = [100_000, 4_000_000];
  const { AS, MOST_BYTES, PACKED, RESULTS, columnsOf, csvOf, linksOf, shown, visible } = globalThis.headbookValues;
  const ENGINE = "duckdb-eh.wasm.gz";
  const LOCKS = [
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
  ];
  const MEGABYTES = `${MOST_BYTES / 1e6} MB`;
  const HINTS = [
    [/read-only/i, "Nothing can be written here: the page only reads its copy of the results."],
    [/extension|autoload/i, "This page loads no extensions (JSON, Parquet, …): the duckdb shell does, see below."],
    [/external access|file system/i, "Queries here read the tables below and nothing else."],
    [/lock/i, "Settings are fixed here; the duckdb shell takes them, see below."],
  ];
  const LOCAL = "This page was opened from disk, where browsers let no page read the files beside it. "
    + "Serve the folder instead, with `headbook serve` or `python -m http.server`, or take the query elsewhere, see below.";

  /* ---- the engine: fetched once, at the first query ---- */
  async function fetched(url, told) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url.pathname} could not be fetched: ${answer.status}`);
    const reader = answer.body.getReader(), pieces = [];
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pieces.push(piece.value);
      told(piece.value.length);
    }
    return new Blob(pieces);
  }

  /* Some hosts unpack .gz files on the way, most do not. */
  async function unpacked(blob) {
    const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
    if (first !== 0x1f || second !== 0x8b) return blob;
    return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  }

  function script(url) {
    return new Promise((done, failed) => {
      const tag = Object.assign(document.createElement("script"), { src: url.href, onload: done });
      tag.onerror = () => failed(new Error(`${url.pathname} could not be fetched`));
      document.head.append(tag);
    });
  }

  async function opened(folder, say) {
    const of = (name) => new URL(name, folder);
    let bytes = 0;
    const told = (more) => say(`fetching DuckDB and the results: ${((bytes += more) / 1e6).toFixed(1)} MB`);
    const [packed, results] = await Promise.all([
      fetched(of(ENGINE), told), fetched(of(PACKED), told),
      globalThis.duckdb ?? script(of("duckdb-bundle.js"))]);
    say("starting DuckDB");
    const engine = new Blob([await unpacked(packed)], { type: "application/wasm" });
    const address = URL.createObjectURL(engine);
    const { AsyncDuckDB, DuckDBAccessMode, VoidLogger } = globalThis.duckdb;
    const worker = new Worker(of("duckdb-worker.js"));
    const database = new AsyncDuckDB(new VoidLogger(), worker);
    await database.instantiate(address);
    URL.revokeObjectURL(address);
    await database.registerFileBuffer(RESULTS, new Uint8Array(await (await unpacked(results)).arrayBuffer()));
    const query = { castDecimalToDouble: true };
    await database.open({ path: RESULTS, accessMode: DuckDBAccessMode.READ_ONLY, query });
    const connection = await database.connect();
    for (const lock of LOCKS) await connection.query(lock);
    return { connection, stop: () => worker.terminate() };
  }

  /* What the page can hold: whole pieces as the engine sends them, until there are enough. */
  async function answered(connection, sql) {
    const reader = await connection.send(sql, true);
    const batches = [], { schema } = reader;
    let rows = 0, bytes = 0, cut = "";
    for await (const batch of reader) {
      batches.push(batch);
      rows += batch.numRows;
      bytes += batch.data.byteLength;
      if (rows >= MOST_ROWS) cut = `${MOST_ROWS.toLocaleString("en")} rows`;
      else if (bytes >= MOST_BYTES) cut = MEGABYTES;
      if (cut) break;
    }
    if (cut) await connection.cancelSent();
    const fields = (batches[0]?.schema ?? schema)?.fields ?? [];
    const found = columnsOf(fields, batches);
    return { ...found, cut: found.whole ? cut : MEGABYTES };
  }

  /* DuckDB tells some of its mistakes as JSON. */
  function mistake(message) {
    try {
      const { exception_type: kind, exception_message: text } = JSON.parse(message);
      return `${kind} Error: ${text}`;
    } catch {
      return message;
    }
  }

  /* ---- the answer ---- */
  function tableOf(columns) {
    const make = (name, properties = {}) => Object.assign(document.createElement(name), properties);
    const box = make("div", { className: "hb-table hb-tall" });
    const scroll = make("div", { className: "hb-scroll", tabIndex: 0, role: "region", ariaLabel: "answer" });
    const table = make("table"), head = table.createTHead().insertRow();
    for (const column of columns) {
      const cell = make("th", { scope: "col", className: column.numeric ? "hb-n" : "" });
      cell.append(make("button", { type: "button", textContent: visible(column.name) }));
      head.append(cell);
    }
    table.createTBody();
    scroll.append(table);
    const pager = make("div", { className: "hb-pager" });
    pager.append(make("span"));
    box.append(scroll, pager);
    const content = {
      height: columns[0]?.values.length ?? 0,
      columns: columns.map((column) => ({
        numeric: column.numeric,
        texts: column.values.map(shown),
        keys: column.numeric ? column.values.map((value) => (value === null ? null : Number(value))) : null,
        links: linksOf(column),
      })),
    };
    globalThis.headbook.startLong(box, table, content);
    return box;
  }

  /* ---- the page ---- */
  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page without https may not
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  function start(box) {
    const one = (name) => box.querySelector(`.hb-sql-${name}`);
    const queries = JSON.parse(one("queries").textContent);
    const [text, status, error, answer] = ["text", "status", "error", "answer"].map(one);
    const pick = box.querySelector("select");
    const fromDisk = location.protocol === "file:";
    let engine = null, running = 0, columns = [];

    const say = (message, linked = false) => {
      status.textContent = message;
      status.classList.toggle("hb-sql-linked", linked);
    };
    const fail = (message) => {
      const hint = HINTS.find(([sign]) => sign.test(message));
      error.textContent = message + (hint ? `\n\n${hint[1]}` : "");
      error.hidden = false;
    };
    const retell = () => {
      const sql = text.value.trim();
      box.querySelectorAll(".hb-sql-as").forEach((place) => { place.textContent = AS[place.dataset.as](sql); });
      const found = queries.indexOf(text.value);
      pick.selectedIndex = found < 0 ? queries.length : found;
    };
    const write = (sql) => {
      text.value = sql;
      text.rows = Math.min(24, Math.max(5, sql.split("\n").length + 1));
      retell();
    };
    const busy = (is) => {
      one("run").disabled = is;
      one("stop").hidden = !is;
      box.setAttribute("aria-busy", is);
    };
    const clear = () => {
      error.hidden = true;
      answer.replaceChildren();
      columns = [];
      for (const name of ["csv", "copy"]) one(name).disabled = true;
    };

    async function run() {
      if (fromDisk || one("run").disabled) return;
      const turn = ++running, sql = text.value.trim();
      const address = new URL(location.href);
      address.searchParams.set("sql", sql);
      history.replaceState(null, "", address);
      clear();
      busy(true);
      try {
        engine ??= await opened(new URL(box.dataset.folder, document.baseURI), say);
        if (turn !== running) return;
        say("running");
        const began = performance.now();
        const found = await answered(engine.connection, sql);
        if (turn !== running) return;
        columns = found.columns;
        const height = columns[0]?.values.length ?? 0;
        const rows = height === 1 ? (found.cut ? "row" : "1 row") : `${height.toLocaleString("en")} rows`;
        say(`${found.cut ? "the first " : ""}${rows}, `
          + `${Math.max(1, Math.round(performance.now() - began))} ms in your browser`
          + (found.cut && `; the page stops reading at ${found.cut}`));
        answer.replaceChildren(...(columns.length ? [tableOf(columns)] : []));
        one("csv").disabled = !columns.length;
        one("copy").disabled = !columns.length || found.bytes > MOST_COPIED;
        one("copy").title = found.bytes > MOST_COPIED ? `too long for a clipboard: more than ${MOST_COPIED / 1e6} MB` : "";
      } catch (failure) {
        if (turn !== running) return;
        say("");
        fail(mistake(failure.message));
      } finally {
        if (turn === running) busy(false);
      }
    }

    function stop() {
      running++;
      engine?.stop();
      engine = null;
      busy(false);
      say("stopped");
    }

    function download() {
      const address = URL.createObjectURL(new Blob([csvOf(columns)], { type: "text/csv" }));
      Object.assign(document.createElement("a"), { href: address, download: "answer.csv" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    }

    function find(words) {
      box.querySelectorAll(".hb-sql-table").forEach((table) => {
        table.hidden = !words.every((word) => table.textContent.toLowerCase().includes(word));
      });
    }

    text.addEventListener("input", retell);
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
    });
    pick.addEventListener("change", () => { write(queries[pick.selectedIndex]); run(); });
    one("run").addEventListener("click", run);
    one("stop").addEventListener("click", stop);
    one("csv").addEventListener("click", download);
    one("copy").addEventListener("click", (event) => copy(csvOf(columns), event.currentTarget));
    one("link").addEventListener("click", (event) => {
      const address = new URL(location.href);
      address.searchParams.set("sql", text.value.trim());
      copy(address.href, event.currentTarget);
    });
    box.querySelectorAll(".hb-sql-copy-as").forEach((button) => button.addEventListener("click", () =>
      copy(button.parentElement.querySelector("pre").textContent, button)));
    box.querySelectorAll(".hb-sql-name").forEach((button) => button.addEventListener("click", () => {
      text.setRangeText(button.textContent, text.selectionStart, text.selectionEnd, "end");
      text.focus();
      retell();
    }));
    one("find")?.querySelector("input").addEventListener("input", (event) =>
      find(event.target.value.toLowerCase().split(/\s+/).filter(Boolean)));

    const asked = new URL(location.href).searchParams.get("sql");
    write(asked ?? queries[0]);
    if (fromDisk) {
      one("run").disabled = true;
      fail(LOCAL);
    } else if (asked) say("This query came with the link: read it, then press Run.", true);
    else say("The first query fetches DuckDB and the results from this site; nothing you ask leaves your browser.");
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".hb-sql").forEach(start));
})();
