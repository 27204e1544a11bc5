"use strict";
// Downloads of the charts: what the page carries is unpacked, SVG is drawn on white.
(() => {
  const files = JSON.parse(document.getElementById("files").textContent);
  const PAPER = { ink: "#1f2328", soft: "#4b5158", line: "#dddad5", strong: "#4b5158" };
  const TYPES = { svg: "image/svg+xml", pdf: "application/pdf", csv: "text/csv" };

  async function drawn(key) {
    const spec = await window.bequest.spec(key);
    if (spec.width === "container") spec.width = 480;
    const made = await vegaEmbed(document.createElement("div"), spec, {
      actions: false, ast: true, config: { ...window.bequest.theme(640, PAPER), background: "white", padding: 6 }, defaultStyle: false, renderer: "svg",
    });
    const svg = await made.view.toSVG();
    made.finalize();
    return new Blob([svg]);
  }

  async function save(key, kind) {
    const content = kind === "svg" ? await drawn(key) : await window.bequest.unpacked(files[key][kind]);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: TYPES[kind] }));
    link.download = `${files[key].name}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-save]");
    if (button) save(button.closest("[data-chart]").dataset.chart, button.dataset.save);
  });
})();
