"use strict";
// Shows the test images by who got them right; every word from data is set as text, never as markup.
(() => {
  const source = document.getElementById("predictions");
  if (!source) return;
  const targets = JSON.parse(source.textContent);
  const section = source.closest("section");
  const part = (name) => section.querySelector(`[data-part="${name}"]`);
  const OUTCOMES = ["both", "a", "b", "none"];
  const STEP = 48; // pictures shown at once
  const state = { target: 0, a: "", b: "", outcome: "a", about: "", most: STEP };
  let found = {}; // outcome -> class -> places of examples
  const shownAt = targets.map((data) => new Map(data.shown.map((index, place) => [index, place])));
  const bits = targets.map((data) => data.right.map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))));

  function make(tag, text, attributes = {}) {
    const element = document.createElement(tag);
    if (text !== null && text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
  const data = () => targets[state.target];
  const isRight = (run, index) => (bits[state.target][run][index >> 3] >> (index & 7)) & 1;

  // A side is an arm, by most of its runs, or one run.
  function members(side) {
    return side.startsWith("arm ") ? data().arms[side.slice(4)] : [data().runs.indexOf(side)];
  }
  const named = (side) => (side.startsWith("arm ") ? side.slice(4) : side);
  const most = (runs, index) => 2 * runs.reduce((sum, run) => sum + isRight(run, index), 0) > runs.length;

  function words(outcome) {
    const { a, b } = state;
    return { both: "both right", a: `only ${named(a)} right`, b: `only ${named(b)} right`, none: "none right" }[outcome];
  }

  function fill(select, values, chosen) {
    select.replaceChildren(...values.map(([value, text]) => {
      const option = make("option", text, { value });
      option.selected = value === chosen;
      return option;
    }));
  }

  function sides() {
    const { arms, runs } = data();
    const grouped = Object.entries(arms).map(([arm, own]) => [`arm ${arm}`, `${arm}: most of ${own.length} runs`]);
    return [...grouped, ...runs.map((run) => [run, run])];
  }

  function opening() {
    const known = sides().map(([value]) => value);
    const pick = (arm, other) => known.find((v) => v === `arm ${arm}`) || known.find((v) => v.startsWith(`${arm}/`)) || other;
    const runs = data().runs;
    const a = pick("finetune", ""), b = pick("randinit", "");
    [state.a, state.b] = a && b ? [a, b] : [runs[0], runs[1] || runs[0]];
  }

  function count() {
    const [a, b] = [members(state.a), members(state.b)];
    found = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, new Map()]));
    data().about.forEach((about, index) => {
      const one = most(a, index), other = most(b, index);
      const cell = found[one ? (other ? "both" : "a") : other ? "b" : "none"];
      if (!cell.has(about)) cell.set(about, []);
      cell.get(about).push(index);
    });
  }
  const listed = (outcome, about) => (about === "" ? [...found[outcome].values()].flat().sort((x, y) => x - y) : found[outcome].get(Number(about)) || []);

  function choose(change, focus) {
    Object.assign(state, { most: STEP }, change);
    draw();
    if (focus) section.querySelector(focus)?.focus();
  }

  function bars() {
    const total = data().about.length;
    part("bars").replaceChildren(...OUTCOMES.map((outcome) => {
      const size = listed(outcome, state.about).length;
      const whole = state.about === "" ? total : OUTCOMES.reduce((sum, one) => sum + listed(one, state.about).length, 0);
      const button = make("button", null, { type: "button", class: `bar ${outcome}`, "aria-pressed": String(outcome === state.outcome), "data-outcome": outcome });
      const bar = make("span", null, { class: "fill", "aria-hidden": "true" });
      bar.style.width = `${(100 * size) / Math.max(1, whole)}%`;
      button.append(make("b", String(size)), make("span", words(outcome)), bar);
      button.addEventListener("click", () => choose({ outcome }, `.bar.${outcome}`));
      return button;
    }));
  }

  function cells() {
    const { classes } = data();
    const largest = Math.max(1, ...OUTCOMES.slice(1).flatMap((outcome) => [...found[outcome].values()].map((one) => one.length)));
    const head = make("tr");
    head.append(make("th", data().labels ? "label" : "class", { scope: "col" }), ...OUTCOMES.map((outcome) => make("th", words(outcome), { scope: "col", class: "n" })));
    const there = [...new Set(data().about)].sort((x, y) => x - y);
    const rows = there.map((about) => {
      const row = make("tr");
      row.append(make("th", classes[about], { scope: "row" }));
      for (const outcome of OUTCOMES) {
        const size = listed(outcome, String(about)).length;
        const cell = make("td", null, { class: "n" });
        const pressed = state.outcome === outcome && state.about === String(about);
        const button = make("button", String(size), {
          type: "button", "aria-pressed": String(pressed), "data-cell": `${outcome} ${about}`, "aria-label": `${classes[about]}, ${words(outcome)}: ${size}`,
        });
        button.disabled = size === 0;
        if (outcome !== "both") button.style.setProperty("--share", `${Math.round((45 * size) / largest)}%`);
        button.addEventListener("click", () => choose({ outcome, about: String(about) }, `[data-cell="${outcome} ${about}"]`));
        cell.append(button);
        row.append(cell);
      }
      return row;
    });
    part("head").replaceChildren(head);
    part("body").replaceChildren(...rows);
  }

  const answer = (value, about) => (data().labels ? `${value ? "" : "no "}${data().classes[about]}` : data().classes[value]);

  function line(place, run, about) {
    const { said, sure, truth, runs } = data();
    const right = said[place][run] === truth[place];
    const item = make("li", null, { class: right ? "right" : "wrong" });
    item.append(make("span", right ? "✓" : "✗", { "aria-hidden": "true" }), ` ${runs[run]}: ${answer(said[place][run], about)} `);
    item.append(make("small", `${right ? "right" : "wrong"}, ${sure[place][run]} %`));
    return item;
  }

  function card(index) {
    const place = shownAt[state.target].get(index), own = data(), about = own.about[index];
    const item = make("li"), box = make("div"), truth = answer(own.truth[place], about);
    const shown = own.pictures[own.picture[place]];
    if (own.text) item.append(make("blockquote", shown));
    else item.append(make("img", null, { src: shown, alt: `test image ${index + 1}, ${truth}`, width: "64", height: "64" }));
    const near = [...new Set([...members(state.a), ...members(state.b)])].slice(0, 8);
    const list = make("ul");
    list.append(...near.map((run) => line(place, run, about)));
    box.append(make("p", truth, { class: "truth" }), list);
    const rest = own.runs.map((_, run) => run).filter((run) => !near.includes(run));
    if (rest.length) {
      const more = make("details"), others = make("ul");
      more.append(make("summary", `${rest.length} more run${rest.length > 1 ? "s" : ""}`), others);
      more.addEventListener("toggle", () => { if (!others.childElementCount) others.append(...rest.map((run) => line(place, run, about))); });
      box.append(more);
    }
    item.append(box);
    return item;
  }

  function cards() {
    const all = listed(state.outcome, state.about), here = all.filter((index) => shownAt[state.target].has(index));
    const where = state.about === "" ? "" : ` of ${data().classes[Number(state.about)]}`;
    const what = data().text ? "text" : data().labels ? "decision" : "image", plural = all.length === 1 ? "" : "s";
    const lacking = all.length - here.length;
    let told = `${all.length} test ${what}${plural}${where}: ${words(state.outcome)}.`;
    if (lacking) told += ` ${lacking} of them ${lacking === 1 ? "is" : "are"} not in this page, which holds ${data().shown.length} of ${data().all}.`;
    part("told").textContent = told;
    part("cards").replaceChildren(...here.slice(0, state.most).map(card));
    const left = here.length - state.most, more = part("more");
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(left, STEP)} more of ${left}`;
  }

  function draw() {
    fill(part("target"), targets.map((one, index) => [String(index), one.target]), String(state.target));
    part("target").closest("label").hidden = targets.length < 2;
    fill(part("a"), sides(), state.a);
    fill(part("b"), sides(), state.b);
    const there = [...new Set(data().about)].sort((x, y) => x - y);
    fill(part("class"), [["", "all"], ...there.map((about) => [String(about), data().classes[about]])], state.about);
    count();
    bars();
    cells();
    cards();
  }

  part("target").addEventListener("change", (event) => {
    state.target = Number(event.target.value);
    const known = sides().map(([value]) => value);
    if (!known.includes(state.a) || !known.includes(state.b)) opening();
    choose({ about: "" });
  });
  for (const name of ["a", "b"]) part(name).addEventListener("change", (event) => choose({ [name]: event.target.value }));
  part("class").addEventListener("change", (event) => choose({ about: event.target.value }));
  part("more").addEventListener("click", () => {
    const before = part("cards").childElementCount;
    state.most += STEP;
    cards();
    part("cards").children[before]?.setAttribute("tabindex", "-1");
    part("cards").children[before]?.focus();
  });

  // A pair that was picked in the chart of the mistakes.
  document.addEventListener("bequest:pair", ({ detail }) => {
    const place = targets.findIndex((one) => one.target === detail.target || targets.length === 1);
    if (place < 0 || ![detail.a, detail.b].every((run) => targets[place].runs.includes(run))) return;
    Object.assign(state, { target: place, a: detail.a, b: detail.b, about: "", outcome: "a", most: STEP });
    draw();
    section.querySelector("details.fold")?.setAttribute("open", "");
    part("told").focus();
    part("told").scrollIntoView({ block: "start" });
  });

  opening();
  draw();
})();
