"use strict";
// Draws the charts in the page's own colours when they come into sight, and again when the scheme or the width changes.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent); // key -> JSON, gzip, base64
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const widths = [640, 860].map((width) => matchMedia(`(max-width: ${width}px)`));
  const MOST_AHEAD = 60; // charts that are drawn before they are asked for; of a larger page only those in sight
  const views = new Map(); // key -> what was drawn
  const folds = [...document.querySelectorAll("details.fold")];
  let drawing = Promise.resolve();

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  }
  const spec = async (key) => JSON.parse(await (await unpacked(specs[key])).text());

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), soft: of("--soft"), line: of("--line"), strong: of("--line-strong") };
  }

  function theme(width, { ink, soft, line, strong }) {
    const font = getComputedStyle(document.body).fontFamily;
    const text = { labelColor: soft, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
    return {
      background: null,
      font,
      view: { stroke: null },
      axis: { ...text, gridColor: line, domainColor: strong, tickColor: strong, labelLimit: 140, labelOverlap: true, labelSeparation: 6 },
      axisYDiscrete: { labelOverlap: false },
      header: { ...text, labelFontSize: 13, labelFontWeight: 500 },
      title: { color: ink, fontSize: 13, fontWeight: 500, anchor: "start" },
      legend: {
        ...text, orient: "bottom", columns: Math.max(1, Math.floor(width / 175)), labelLimit: 220, symbolOpacity: 1,
        symbolBaseFillColor: soft, symbolBaseStrokeColor: soft,
        layout: { bottom: { direction: width < 700 ? "vertical" : "horizontal", anchor: "start", margin: 18 } },
      },
      text: { color: ink },
      rule: { color: soft },
      line: { strokeWidth: 2 },
      concat: { spacing: 28 },
      facet: { spacing: 24 },
    };
  }

  // Panels that share their rows: as many beside each other as there is room for, the first of a line with the names.
  function panelled(spec, width) {
    const { labels } = spec.usermeta.panels, gap = 28, least = 80;
    const columns = Math.max(1, Math.min(spec.concat.length, Math.floor((width - labels) / (least + gap))));
    const wide = Math.min(230, Math.floor((width - labels) / columns - gap));
    const named = (part, yes) => ({
      ...part,
      ...(part.layer && { layer: part.layer.map((one) => named(one, yes)) }),
      ...(part.encoding?.y && { encoding: { ...part.encoding, y: { ...part.encoding.y, axis: { ...part.encoding.y.axis, labels: yes } } } }),
    });
    return { ...spec, columns, concat: spec.concat.map((pane, index) => ({ ...named(pane, index % columns === 0), width: wide })) };
  }

  // Charts side by side go below each other where there is no room.
  function stacked(spec, width) {
    if (spec === null || typeof spec !== "object") return spec;
    if (Array.isArray(spec)) return spec.map((part) => stacked(part, width));
    if (spec.usermeta?.panels) return panelled(spec, width);
    const copy = { ...spec };
    const panes = copy.hconcat || (copy.columns > 1 && copy.concat) || [];
    const across = copy.hconcat ? panes.length : Math.min(copy.columns, panes.length);
    const needed = across * (Math.max(...panes.map((pane) => pane.width || 200)) + 56) + 28 * (across - 1);
    if (panes.length && needed > width) {
      if (copy.hconcat) { copy.vconcat = copy.hconcat; delete copy.hconcat; } else copy.columns = 1;
    }
    for (const key of ["vconcat", "hconcat", "concat", "spec"]) if (copy[key]) copy[key] = stacked(copy[key], width);
    return copy;
  }

  async function draw(key) {
    const box = document.getElementById(key), width = box.clientWidth;
    if (!width) return; // not laid out yet: it is drawn when its section opens
    views.get(key)?.made.finalize();
    try {
      const made = await vegaEmbed(box, stacked(await spec(key), width), {
        actions: false, ast: true, config: theme(width, colours()), defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
      });
      views.set(key, { made, width });
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      box.classList.toggle("scrolls", scrolls);
      if (scrolls) box.tabIndex = 0;
      if ("pick" in box.dataset) pickable(box);
    } catch (error) {
      box.textContent = "This chart could not be drawn. " + error.message;
      box.classList.add("problem");
      views.set(key, { made: { finalize() {} }, width });
    }
  }

  // Dots of pairs of runs lead to their images: by mouse, or one tab stop, arrow keys and Enter.
  function pickable(box) {
    const target = box.closest("figure").dataset.target || "";
    const pick = ({ a, b }) => document.dispatchEvent(new CustomEvent("bequest:pair", { detail: { target, a, b } }));
    const datum = (element) => element.__data__?.datum;
    const dots = [...box.querySelectorAll(".mark-symbol.role-mark path")].filter((dot) => datum(dot)?.a && datum(dot)?.b);
    dots.sort((one, other) => datum(one).expected_uncommon - datum(other).expected_uncommon);
    dots.forEach((dot, index) => {
      dot.setAttribute("tabindex", index ? "-1" : "0");
      dot.setAttribute("role", "button");
      dot.setAttribute("aria-label", `${datum(dot).a} and ${datum(dot).b}: show their images`);
      dot.classList.add("pick");
      dot.addEventListener("click", () => pick(datum(dot)));
      dot.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (step) dots[(index + step + dots.length) % dots.length].focus();
        else if (event.key === "Enter" || event.key === " ") pick(datum(dot));
        else return;
        event.preventDefault();
      });
    });
  }

  const keys = Object.keys(specs);
  const visible = (key) => document.getElementById(key).closest("details:not([open])") === null;
  const stale = (key) => !views.has(key) || Math.abs(views.get(key).width - document.getElementById(key).clientWidth) > 2;

  // One after another, so that the page stays awake.
  function queue(wanted) {
    drawing = drawing.then(async () => {
      for (const key of wanted()) {
        await draw(key);
        await new Promise((done) => setTimeout(done));
      }
    });
    return drawing;
  }

  const inSight = () => keys.filter((key) => visible(key) && stale(key));

  async function everything() {
    folds.forEach((fold) => { fold.open = true; });
    await queue(inSight);
  }

  function again() {
    delete document.documentElement.dataset.charts;
    const drawn = [...views.keys()];
    views.forEach(({ made }) => made.finalize());
    views.clear();
    queue(() => keys.filter((key) => visible(key) || drawn.includes(key))).then(finished);
  }

  function finished() {
    document.documentElement.dataset.charts = String(views.size);
  }

  folds.forEach((fold) => fold.addEventListener("toggle", () => { if (fold.open) queue(inSight).then(finished); }));
  function reveal(hash) {
    const fold = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)))?.closest("section")?.querySelector("details.fold");
    if (fold) fold.open = true;
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link) reveal(link.getAttribute("href"));
  });
  reveal(location.hash);
  document.querySelectorAll("[data-all]").forEach((button) => button.addEventListener("click", async () => {
    if (button.dataset.all === "close") folds.forEach((fold) => { fold.open = false; });
    else await everything();
    if (button.dataset.all === "print") print();
  }));
  let before = [];
  addEventListener("beforeprint", () => { before = [...document.querySelectorAll("details:not([open]):not(.behind)")]; before.forEach((fold) => { fold.open = true; }); });
  addEventListener("afterprint", () => before.forEach((fold) => { fold.open = false; }));

  if (keys.length) {
    dark.addEventListener("change", again);
    widths.forEach((width) => width.addEventListener("change", again));
  }
  window.bequest = { colours, unpacked };
  const near = (key) => document.getElementById(key).getBoundingClientRect().top < 1.3 * innerHeight;
  queue(() => inSight().filter(near)).then(() => {
    document.documentElement.dataset.sight = String(views.size);
    return queue(() => (keys.length > MOST_AHEAD ? inSight() : keys.filter((key) => !views.has(key))));
  }).then(finished);
})();
