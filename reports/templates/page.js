"use strict";
// Sorting: a button per column, the best first at the first click; numbers by data-v, an unknown one last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const first = numeric && !head.classList.contains("low") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const body = table.tBodies[0];
      const keyed = [...body.rows].map((row) => {
        const cell = row.cells[column];
        return [numeric ? cell.dataset.v : cell.textContent.trim(), row];
      });
      keyed.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? a - b : a.localeCompare(b));
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}
// Where a table fits into the window its box does not scroll, so that its header stays at the top of the window.
const fit = new ResizeObserver((boxes) => {
  for (const { target } of boxes) {
    const box = target.closest(".scroll");
    const table = box.querySelector("table");
    box.classList.toggle("fits", table.offsetWidth <= box.clientWidth);
  }
});
for (const box of document.querySelectorAll(".scroll:has(> .board)")) fit.observe(box);
// Search and filters hold for all sortable tables: each of them has a row per strategy.
const filters = document.querySelector(".filters:has(#family)");
if (filters) {
  const strategies = [...document.querySelectorAll("tr[data-family]")];
  const rows = document.querySelectorAll("table.sortable tr[data-series]");
  const [search, family, keeps] = ["search", "family", "keeps"].map((id) => document.getElementById(id));
  for (const [select, key] of [[family, "family"], [keeps, "keeps"]]) {
    for (const value of [...new Set(strategies.map((row) => row.dataset[key]))].sort()) {
      if (value) select.append(new Option(value, value));
    }
  }
  const filter = () => {
    const asked = search.value.trim().toLowerCase();
    const left = new Set();
    for (const { dataset, cells } of strategies) {
      if (
        cells[0].querySelector(".name").textContent.toLowerCase().includes(asked) &&
        (family.value === "" || dataset.family === family.value) &&
        (keeps.value === "" || dataset.keeps === keeps.value)
      ) {
        left.add(dataset.series);
      }
    }
    for (const row of rows) row.hidden = !left.has(row.dataset.series);
    document.getElementById("found").value = `${left.size} of ${strategies.length} strategies`;
  };
  for (const control of [search, family, keeps]) control.addEventListener("input", filter);
  filters.hidden = false;
  filter();
}
// Which strategies are in colour: chosen by checkboxes; the one under the pointer, in a figure or a table, always is.
for (const section of document.querySelectorAll("main > section")) {
  const parts = new Map();
  for (const part of section.querySelectorAll("svg [data-series]")) {
    const key = part.dataset.series;
    parts.set(key, [...(parts.get(key) ?? []), part]);
  }
  const choose = section.querySelector(".choose");
  if (choose && parts.size) {
    const fieldset = choose.querySelector("fieldset");
    for (const [key, mine] of [...parts].sort(([a], [b]) => a - b)) {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = mine.some((part) => part.classList.contains("on"));
      const name = mine.find((part) => part.classList.contains("label"));
      label.append(box, ` ${name ? name.textContent : key}`);
      fieldset.append(label);
      box.addEventListener("change", () => {
        for (const part of mine) {
          part.classList.toggle("on", box.checked);
          if (box.checked) part.parentNode.append(part);
        }
      });
    }
    choose.hidden = false;
  }
  let hot = [];
  const point = (key) => {
    for (const part of hot) part.classList.remove("hot");
    hot = parts.get(key) ?? [];
    for (const part of hot) part.classList.add("hot");
  };
  section.addEventListener("pointerover", (event) => point(event.target.closest("[data-series]")?.dataset.series));
  section.addEventListener("pointerleave", () => point());
}
