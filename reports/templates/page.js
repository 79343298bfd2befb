"use strict";
// Sorting: a button per column; numbers by data-v, an unknown one last whichever the direction.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
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
// Pointing at a strategy, in a figure or in the leaderboard, makes the others in the section's figures fade.
for (const section of document.querySelectorAll("section.stream")) {
  section.addEventListener("pointerover", (event) => {
    const at = event.target.closest("[data-series]");
    section.classList.toggle("focus", at !== null);
    for (const part of section.querySelectorAll("svg [data-series]")) {
      part.classList.toggle("on", at !== null && part.dataset.series === at.dataset.series);
    }
  });
  section.addEventListener("pointerleave", () => section.classList.remove("focus"));
}
