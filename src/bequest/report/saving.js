"use strict";
// Downloads of the charts: what the page carries is unpacked, SVG is the chart on white.
(() => {
  const files = JSON.parse(document.getElementById("files").textContent);
  const PAPER = { ink: "#1f2328", soft: "#4b5158", line: "#dddad5", strong: "#4b5158" };
  const TYPES = { svg: "image/svg+xml", pdf: "application/pdf", csv: "text/csv" };

  // The chart as it stands, in the colours of paper.
  function drawn(key) {
    const own = window.bequest.colours();
    let text = new XMLSerializer().serializeToString(document.getElementById(key).querySelector("svg.marks"));
    for (const name of Object.keys(PAPER)) text = text.replaceAll(`"${own[name]}"`, `"${PAPER[name]}"`);
    return new Blob([text.replace(">", '><rect width="100%" height="100%" fill="white"/>')]);
  }

  async function save(key, kind) {
    const content = kind === "svg" ? drawn(key) : await window.bequest.unpacked(files[key][kind]);
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
