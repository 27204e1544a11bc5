"use strict";
// Draws the charts in the page's own colours, again when the scheme or the width of the page changes.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const widths = [640, 860].map((width) => matchMedia(`(max-width: ${width}px)`));
  let drawing = Promise.resolve();
  let views = [];

  function theme(width) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = getComputedStyle(document.body).fontFamily;
    const text = { labelColor: colour("--soft"), titleColor: colour("--ink"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
    return {
      background: null,
      font,
      view: { stroke: null },
      axis: { ...text, gridColor: colour("--line"), domainColor: colour("--line-strong"), tickColor: colour("--line-strong"), labelLimit: 140, labelOverlap: true, labelSeparation: 6 },
      axisYDiscrete: { labelOverlap: false },
      header: { ...text, labelFontSize: 13, labelFontWeight: 500 },
      title: { color: colour("--ink"), fontSize: 13, fontWeight: 500, anchor: "start" },
      legend: {
        ...text, orient: "bottom", columns: Math.max(1, Math.floor(width / 175)), labelLimit: 220, symbolOpacity: 1,
        symbolBaseFillColor: colour("--soft"), symbolBaseStrokeColor: colour("--soft"),
        layout: { bottom: { direction: width < 700 ? "vertical" : "horizontal", anchor: "start", margin: 18 } },
      },
      text: { color: colour("--ink") },
      rule: { color: colour("--soft") },
      line: { strokeWidth: 2 },
      concat: { spacing: 28 },
      facet: { spacing: 24 },
    };
  }

  // Charts side by side go below each other where there is no room.
  function stacked(spec, width) {
    if (spec === null || typeof spec !== "object") return spec;
    if (Array.isArray(spec)) return spec.map((part) => stacked(part, width));
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

  async function draw() {
    views.forEach((view) => view.finalize());
    views = [];
    for (const [key, spec] of Object.entries(specs)) {
      const box = document.getElementById(key);
      try {
        const made = await vegaEmbed(box, stacked(spec, box.clientWidth), {
          actions: false, ast: true, config: theme(box.clientWidth), defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
        });
        views.push(made);
      } catch (error) {
        box.textContent = "This chart could not be drawn. " + error.message;
        box.classList.add("problem");
      }
    }
    document.documentElement.dataset.charts = String(views.length);
  }

  function again() {
    delete document.documentElement.dataset.charts;
    drawing = drawing.then(draw);
  }

  if (Object.keys(specs).length) {
    dark.addEventListener("change", again);
    widths.forEach((width) => width.addEventListener("change", again));
  }
  again();
})();
