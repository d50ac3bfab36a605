/* Controls that choose among pre-computed states, tabs, and tables that sort, filter and page. */
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const state = {};

  /* ---- controls: a state is named by the places of the chosen values ---- */
  function read(control) {
    const input = control.querySelector("select, input:checked, input[type=range], input[type=checkbox]");
    return input === null ? 0 : input.type === "checkbox" ? +input.checked : +input.value;
  }

  function write(control, place) {
    all("select, input[type=range]", control).forEach((input) => { input.value = place; });
    all("input[type=radio]", control).forEach((input) => { input.checked = +input.value === place; });
    all("input[type=checkbox]", control).forEach((input) => { input.checked = place === 1; });
    all("input[type=range]", control).forEach((input) => {
      const text = input.dataset.values.split("\t")[place];
      input.setAttribute("aria-valuetext", text);
      control.querySelector("output").textContent = text;
    });
  }

  function choose(block, names) {
    if (!names.every((name) => name in state)) return;
    const wanted = names.map((name) => state[name]).join(",");
    const show = (item) => { item.hidden = !item.dataset.states.split(" ").includes(wanted); };
    if (block.classList.contains("hb-state")) show(block);
    else all(":scope > .hb-state", block).forEach(show);
  }

  function apply() {
    all("[data-controls]").forEach((block) => choose(block, block.dataset.controls.split(" ")));
  }

  /* The control that was used may stand in a state that is hidden now: go on in its twin. */
  function follow(control, controls) {
    if (control.offsetParent !== null) return;
    const twin = controls.find((other) =>
      other.dataset.control === control.dataset.control && other.offsetParent !== null);
    twin?.querySelector("select, input:checked, input:not([type=radio])")?.focus();
  }

  function startControls() {
    const controls = all(".hb-control");
    const used = (control) => {
      const place = (state[control.dataset.control] = read(control));
      controls.filter((other) => other.dataset.control === control.dataset.control)
        .forEach((other) => write(other, place));
      apply();
      follow(control, controls);
    };
    controls.forEach((control) => {
      if (!(control.dataset.control in state)) state[control.dataset.control] = read(control);
      const dragged = control.querySelector("input[type=range]") && control.closest(".hb-state");
      if (dragged) control.addEventListener("input", () => write(control, read(control)));
      control.addEventListener(dragged ? "change" : "input", () => used(control));
    });
    controls.forEach((control) => write(control, state[control.dataset.control]));
    apply();
  }

  /* ---- tabs: arrow keys move, as the pattern for tabs says ---- */
  function startTabs(tabs) {
    const buttons = all(":scope > [role=tablist] > [role=tab]", tabs);
    const panes = all(":scope > [role=tabpanel]", tabs);
    const open = (chosen) => buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", i === chosen);
      button.tabIndex = i === chosen ? 0 : -1;
      panes[i].hidden = i !== chosen;
    });
    buttons.forEach((button, i) => {
      button.addEventListener("click", () => open(i));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = (i + step + buttons.length) % buttons.length;
        open(next);
        buttons[next].focus();
      });
    });
  }

  /* ---- tables ---- */
  const PAGE_ROWS = 100;

  function compare(x, y) {
    if (x === y) return 0;
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
  }

  function mark(heads, chosen) {
    const direction = heads[chosen].getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    const first = heads[chosen].hasAttribute("aria-sort") ? direction
      : heads[chosen].classList.contains("hb-n") ? "descending" : "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[chosen].setAttribute("aria-sort", first);
    return first === "ascending" ? 1 : -1;
  }

  function sortOrder(keys, sign) {
    const order = keys.map((_, i) => i);
    return order.sort((a, b) => {
      const missing = (keys[a] === null) - (keys[b] === null);
      return missing || sign * compare(keys[a], keys[b]) || a - b;
    });
  }

  function keyOf(text, numeric) {
    if (text === "–") return null;
    return numeric ? Number(text) : text;
  }

  /* ---- filters: a row is shown if it holds all the words; tables that take turns share them ---- */
  const folded = (text) => text.toLowerCase();

  function holds(text, words) {
    return words.every((word) => text.includes(word));
  }

  function needsFilter(box) {
    const turns = box.closest(".hb-states");
    return turns ? turns.querySelector(".hb-tall") !== null : box.classList.contains("hb-tall");
  }

  function startFilter(box, apply) {
    if (!needsFilter(box)) return;
    const field = Object.assign(document.createElement("input"), { type: "search", spellcheck: false });
    const label = Object.assign(document.createElement("label"), { className: "hb-filter", textContent: "filter rows " });
    const count = Object.assign(document.createElement("span"), { className: "hb-note" });
    count.setAttribute("role", "status");
    label.append(field);
    const line = document.createElement("div");
    line.append(label, count);
    box.prepend(line);
    box.hbFilter = (text) => {
      field.value = text;
      const [shown, every] = apply(folded(text).split(/\s+/).filter(Boolean));
      count.textContent = text.trim() ? `${shown.toLocaleString("en")} of ${every.toLocaleString("en")} rows` : "";
    };
    field.addEventListener("input", () => {
      const turns = box.closest(".hb-states");
      (turns ? all(".hb-table", turns) : [box]).forEach((twin) => twin.hbFilter?.(field.value));
    });
  }

  function startShort(box, table) {
    const heads = all("th", table), body = table.tBodies[0];
    startFilter(box, (words) => {
      const rows = [...body.rows];
      rows.forEach((row) => { row.hidden = !holds(folded(row.textContent), words); });
      return [rows.filter((row) => !row.hidden).length, rows.length];
    });
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const rows = [...body.rows], numeric = head.classList.contains("hb-n");
      const keys = rows.map((row) => {
        const cell = row.cells[column];
        return keyOf(cell.dataset.key ?? cell.textContent, numeric);
      });
      sortOrder(keys, mark(heads, column)).forEach((i) => body.append(rows[i]));
    }));
  }

  function cellOf(column, row) {
    const cell = document.createElement("td");
    cell.className = column.numeric ? "hb-n" : "";
    const links = column.links?.[row] ?? [];
    if (!links.length) cell.textContent = column.texts[row];
    links.forEach(([text, href], i) => {
      const link = document.createElement("a");
      link.textContent = text;
      link.href = href;
      cell.append(...(i ? [", ", link] : [link]));
    });
    if (column.keys?.[row] != null) cell.title = column.keys[row];
    return cell;
  }

  function startLong(box, table, content) {
    const heads = all("th", table), body = table.tBodies[0], pager = box.querySelector(".hb-pager");
    const every = Array.from({ length: content.height }, (_, i) => i);
    const texts = (i) => folded(content.columns.map((column) => column.texts[i]
      || (column.links?.[i] ?? []).map(([text]) => text).join(", ")).join(" "));
    let order = every, kept = every, first = 0, wanted = null;
    const button = (text, label) => Object.assign(document.createElement("button"),
      { type: "button", textContent: text, ariaLabel: label });
    const [back, next] = [button("‹", "previous rows"), button("›", "next rows")];
    const where = pager.querySelector("span");
    pager.prepend(back);
    pager.append(next);
    function show() {
      kept = wanted ? order.filter((i) => wanted.has(i)) : order;
      const rows = kept.slice(first, first + PAGE_ROWS).map((i) => {
        const row = document.createElement("tr");
        row.append(...content.columns.map((column) => cellOf(column, i)));
        return row;
      });
      body.replaceChildren(...rows);
      where.textContent = rows.length
        ? `rows ${first + 1}–${first + rows.length} of ${kept.length.toLocaleString("en")}` : "no rows";
      back.disabled = first === 0;
      next.disabled = first + PAGE_ROWS >= kept.length;
    }
    startFilter(box, (words) => {
      wanted = words.length ? new Set(every.filter((i) => holds(texts(i), words))) : null;
      first = 0;
      show();
      return [kept.length, content.height];
    });
    back.addEventListener("click", () => { first -= PAGE_ROWS; show(); });
    next.addEventListener("click", () => { first += PAGE_ROWS; show(); });
    heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
      const column = content.columns[i];
      const keys = column.keys ?? column.texts.map((text) => keyOf(text, column.numeric));
      order = sortOrder(keys, mark(heads, i));
      first = 0;
      show();
    }));
    show();
  }

  /* ---- what charts and long tables are made of: JSON, or packed JSON, in the page itself ---- */
  let island = null;

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  function content() {
    const script = document.getElementById("hb-page");
    island ??= script.type === "application/json" ? Promise.resolve(JSON.parse(script.textContent))
      : unpacked(script.textContent);
    return island;
  }

  async function placeLate() {
    const boxes = all(".hb-late");
    const pieces = boxes.length ? (await content()).later : {};
    boxes.forEach((box) => { box.innerHTML = pieces[box.dataset.html]; });
  }

  async function startTables() {
    const tables = all(".hb-table");
    const long = tables.some((box) => box.dataset.rows) ? (await content()).tables : {};
    tables.forEach((box) => {
      const table = box.querySelector("table");
      if (box.dataset.rows) startLong(box, table, long[box.dataset.rows]);
      else startShort(box, table);
    });
  }

  /* ---- what a link leads to may lie in a fold ---- */
  function unfold() {
    const goal = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    let fold = goal?.closest("details:not([open])");
    if (!fold) return;
    for (; fold; fold = fold.parentElement.closest("details:not([open])")) fold.open = true;
    goal.scrollIntoView();
  }

  globalThis.headbook = { content, startLong };

  addEventListener("hashchange", unfold);
  document.addEventListener("DOMContentLoaded", () => {
    unfold();
    startControls();
    all(".hb-tabs").forEach(startTabs);
    placeLate().then(startTables).then(() => { document.documentElement.dataset.hbReady = "yes"; });
  });
})();
