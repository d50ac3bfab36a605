/* Draws charts as they come into view, in the colours of the page, and again when those change. */
(() => {
  "use strict";
  const all = (selector) => [...document.querySelectorAll(selector)];
  const SMALLEST = 0.7;

  function rows(table) {
    const count = table.values.length ? table.values[0].length : 0;
    return Array.from({ length: count }, (_, i) =>
      Object.fromEntries(table.names.map((name, j) => [name, table.values[j][i]])));
  }

  function namesIn(node, found) {
    if (Array.isArray(node)) node.forEach((item) => namesIn(item, found));
    else if (node && typeof node === "object") {
      if (node.data && typeof node.data.name === "string") found.add(node.data.name);
      Object.values(node).forEach((item) => namesIn(item, found));
    }
    return found;
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--pst-color-${name}`).trim();
    const [text, muted, line, back] = [of("text-base"), of("text-muted"), of("border"), of("background")];
    return {
      background: back,
      padding: { left: 0, right: 4, top: 4, bottom: 4 },
      font: getComputedStyle(document.body).fontFamily,
      title: { color: text, subtitleColor: muted, anchor: "start", fontWeight: 600 },
      axis: { labelColor: text, titleColor: text, gridColor: line, domainColor: muted, tickColor: muted, titleFontWeight: 500 },
      legend: { labelColor: text, titleColor: text, titleFontWeight: 500 },
      header: { labelColor: text, titleColor: text },
      view: { stroke: line },
      text: { color: text },
      rule: { color: muted },
    };
  }

  /* The picture takes the place of the box as what has a text alternative: beside it, the box now
     holds a menu, which must not be hidden from those who cannot see the picture. */
  function describe(box) {
    const picture = box.querySelector("svg.marks");
    picture.style.minWidth = `${SMALLEST * picture.getAttribute("width")}px`;  // stays legible
    box.dataset.label ??= box.getAttribute("aria-label");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", box.dataset.label);
    picture.removeAttribute("aria-roledescription");
    [...picture.children].forEach((part) => part.setAttribute("aria-hidden", "true"));
    box.removeAttribute("role");
    box.removeAttribute("aria-label");
    const menu = box.querySelector("summary");
    menu?.setAttribute("aria-label", "save this chart");
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }

  async function draw(box) {
    const page = await headbook.content();
    const spec = structuredClone(page.specs[box.dataset.spec]);
    const named = [...namesIn(spec, new Set())].filter((name) => name in page.data);
    spec.datasets = Object.fromEntries(named.map((name) => [name, rows(page.data[name])]));
    const dark = document.documentElement.dataset.theme === "dark";
    const figure = box.closest("figure");
    const options = {
      mode: "vega-lite", renderer: "svg", config: colours(), tooltip: { theme: dark ? "dark" : "light" },
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: figure?.id || "chart",
    };
    vegaEmbed(box, spec, options).then(
      (drawn) => {
        box.hbView = drawn;
        describe(box);
        box.dataset.done = "yes";
      },
      (error) => { box.dataset.failed = "yes"; box.textContent = `This chart could not be drawn: ${error.message}`; });
  }

  function start(box) {
    if (!box.dataset.started) { box.dataset.started = "yes"; draw(box); }
  }

  const undrawn = () => all(".hb-chart:not([data-started])").filter((box) => box.offsetParent !== null);
  const whenIdle = window.requestIdleCallback ?? ((task) => setTimeout(task, 200));

  function drawRest() {
    const [next] = undrawn();
    if (!next) return;
    start(next);
    whenIdle(drawRest);
  }

  function drawAgain() {
    all(".hb-chart[data-started]").forEach((box) => {
      box.hbView?.finalize();
      delete box.dataset.done;
      box.textContent = "";
      draw(box);
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const seen = new IntersectionObserver(
      (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target)),
      { rootMargin: "500px" });
    all(".hb-chart").forEach((box) => seen.observe(box));
    let theme = document.documentElement.dataset.theme;
    new MutationObserver(() => {
      if (theme !== document.documentElement.dataset.theme) {
        theme = document.documentElement.dataset.theme;
        drawAgain();
      }
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    addEventListener("load", () => whenIdle(drawRest));  // paper shows what was never in view
    addEventListener("beforeprint", () => undrawn().forEach(start));
  });
})();
