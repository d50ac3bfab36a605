/* What the console shows, saves and hands on: values of an answer, and a query for other tools. */
(() => {
  "use strict";
  const MOST_BYTES = 32_000_000;
  const MOST_SHOWN = 2_000;
  const RESULTS = "results.duckdb";
  const PACKED = `${RESULTS}.gz`;

  /* ---- characters that would not be seen, or would turn or steer what stands around them ---- */
  const HIDDEN = /(?!\n)[\p{C}\p{Zl}\p{Zp}]/gu;
  const hex = (character, width) => character.codePointAt(0).toString(16).padStart(width, "0");

  function escaped(character) {
    const code = character.codePointAt(0);
    return code < 0x100 ? `\\x${hex(character, 2)}` : code < 0x1_0000 ? `\\u${hex(character, 4)}` : `\\U${hex(character, 8)}`;
  }

  const visible = (text) => text.replace(HIDDEN, escaped);

  /* ---- values: as the book's tables show them, and whole ---- */
  const NUMBERS = new Set([2, 3, 7]);  // Arrow's integers, floats and decimals
  const TIMES = new Set([8, 10]);
  const SIMPLE = new Set([...NUMBERS, ...TIMES, -1, 5, 6]);  // and dictionaries, texts, booleans
  const MOST_AT_ONCE = 256_000_000;  // browsers read longer texts as empty ones
  const MOST_NESTED = 8_000_000;

  function plain(value, type) {
    if (value === null || value === undefined) return null;
    if (TIMES.has(type.typeId)) {
      const text = new Date(Number(value)).toISOString().replace("T", " ").replace("Z", "");
      return type.typeId === 8 ? text.slice(0, 10) : text.replace(/\.000$/, "");
    }
    if (typeof value === "bigint") {
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    }
    if (typeof value === "object") {
      return JSON.stringify(value.toJSON ? value.toJSON() : value,
        (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));
    }
    return value;
  }

  function shown(value) {
    if (value === null) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
    const text = String(value);
    if (text.length <= MOST_SHOWN) return visible(text);
    return `${visible(text.slice(0, MOST_SHOWN))} … (${text.length.toLocaleString("en")} characters)`;
  }

  const tooLarge = (most) => `The page can show rows of at most ${most / 1e6} MB at once${
    most === MOST_NESTED ? " where there are lists, structs or blobs" : ""}: ask for less with LIMIT, substr() or list_slice().`;

  /* Rows until there are enough bytes; the row that is one too many for them is whole. */
  function columnsOf(fields, batches) {
    const columns = fields.map(({ name, type }) => ({ name, type, numeric: NUMBERS.has(type.typeId), values: [] }));
    let bytes = 0;
    for (const batch of batches) {
      const most = fields.every(({ type }) => SIMPLE.has(type.typeId)) ? MOST_AT_ONCE : MOST_NESTED;
      if (batch.data.byteLength > most) throw new Error(tooLarge(most));
      const read = columns.map(({ type }, place) => {
        const column = batch.getChildAt(place);
        return (row) => plain(column.get(row), type);
      });
      for (let row = 0; row < batch.numRows; row++) {
        if (bytes >= MOST_BYTES) return { columns, bytes, whole: false };
        columns.forEach(({ values }, place) => {
          const value = read[place](row);
          values.push(value);
          bytes += typeof value === "string" ? value.length : 8;
        });
      }
    }
    return { columns, bytes, whole: true };
  }

  function linksOf({ name, values }) {
    if (name === "run") {
      return values.map((run) => (/^[0-9a-f]{32}$/.test(run ?? "") ? [[run.slice(0, 8), `runs.html#run-${run}`]] : []));
    }
    if (name !== "chapter") return null;
    return values.map((stem) => {
      const page = `${String(stem).startsWith("00_") ? "index" : stem}.html`;
      return /^\d\d_\w+$/.test(stem ?? "") && document.querySelector(`nav a[href="${page}"]`) ? [[stem, page]] : [];
    });
  }

  function csvOf(columns) {
    const cell = (value) => {
      const text = value === null ? "" : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const height = columns[0]?.values.length ?? 0;
    const lines = [columns.map((column) => cell(column.name)).join(",")];
    for (let i = 0; i < height; i++) lines.push(columns.map((column) => cell(column.values[i])).join(","));
    return lines.join("\n") + "\n";
  }

  /* ---- the same query for other tools: text that no query can end ---- */
  /* A word of a POSIX shell. Where something cannot be seen, or a terminal may take it for a key, it is
     written in octal, which $'...' reads: bash, zsh, ksh and POSIX since 2024. */
  function word(text) {
    const octal = (character) => [...new TextEncoder().encode(character)]
      .map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    const shown = text.replaceAll("\0", "\ufffd");
    if (shown === shown.replace(HIDDEN, octal)) return `'${shown.replaceAll("'", "'\\''")}'`;
    return `$'${shown.replace(/[\\']/g, "\\$&").replace(HIDDEN, octal)}'`;
  }

  /* A string of Python: raw where that says the same, so that it can be read as SQL. */
  function literal(text) {
    if (visible(text) === text && !text.includes('"""') && !text.endsWith("\\")) return `r"""\n${text}\n"""`;
    const escape = (character) => (character === "\n" ? "\\n" : /["\\]/.test(character) ? `\\${character}` : escaped(character));
    return `"${text.replace(/["\\\n]/g, escape).replace(HIDDEN, escape)}"`;
  }

  const AS = {
    // a dot at the very start would be a command of the duckdb shell, such as .shell
    shell: (sql) => `gunzip --keep ${PACKED}\nduckdb -readonly ${RESULTS} -c ${word(sql.replace(/^\./, " ."))}`,
    python: (sql) => "import gzip\nimport shutil\n\nimport duckdb\n\n"
      + `with gzip.open("${PACKED}") as packed, open("${RESULTS}", "wb") as whole:\n`
      + "    shutil.copyfileobj(packed, whole)\n"
      + `results = duckdb.connect("${RESULTS}", read_only=True)\n`
      + `frame = results.sql(${literal(sql)}).pl()  # polars; .df() for pandas`,
    headbook: (sql) => `headbook sql ${sql.startsWith("-") ? "-- " : ""}${word(sql)}`,
  };

  globalThis.headbookValues = { AS, MOST_BYTES, PACKED, RESULTS, columnsOf, csvOf, linksOf, shown, visible };
})();
