// A click on a column's heading sorts its table: numbers by value, what has none last.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const head = table.tHead, body = table.tBodies[0];
  if (!head || !body || body.rows.length < 2) continue;
  const value = (row, n) => {
    const cell = row.cells[n];
    if (!cell) return null;
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = text.replace(/(\d) (?=\d{3})/g, "$1").match(/^[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return number ? Number(number[0]) : text === "" || text.startsWith("–") ? null : text;
  };
  const order = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  [...head.rows[0].cells].forEach((heading, n) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.title = "Sort";
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of head.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, n), row]);
      rows.sort(([a], [b]) =>
        a === null || b === null ? (a === null) - (b === null) : up ? order(a, b) : order(b, a));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
