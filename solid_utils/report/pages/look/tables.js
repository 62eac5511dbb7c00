// Tables sort and filter, and a link to a folded row opens the fold. Without this file everything is still there to read.
"use strict";

const number = (text) => {
  const found = text.replaceAll(",", "").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
  return found ? Number(found[0]) : NaN;
};

const compare = (numeric) => (one, other) => {
  if (!numeric) return one.localeCompare(other, "en", { numeric: true });
  return number(one) - number(other);
};

// Blank cells stay last in either direction; rows that are equal keep their order.
function sort(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const by = compare(header.classList.contains("n"));
  const text = (row) => row.cells[column].textContent.trim();
  const blank = (row) => text(row) === "" || (header.classList.contains("n") && Number.isNaN(number(text(row))));
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    if (blank(one) || blank(other)) return blank(one) - blank(other);
    return (down ? -1 : 1) * by(text(one), text(other));
  });
  table.tBodies[0].append(...rows);
}

function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(table, column, header));
    header.replaceChildren(button);
    header.setAttribute("aria-sort", "none");
  });
}

const FEW = 8; // rows that need no filter

function filtered(table, tools) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= FEW) return;
  const name = table.caption.textContent.trim();
  const input = document.createElement("input");
  const told = document.createElement("output");
  Object.assign(input, { type: "search", placeholder: "filter rows" });
  input.setAttribute("aria-label", `Filter rows of ${name}`);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(" ");
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    }
    told.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
  told.textContent = `${rows.length} rows`;
  tools.prepend(input, told);
}

// What the address names; a hash that no page wrote, such as "#%", is not encoded, and names nothing.
function named() {
  try {
    return document.getElementById(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return null;
  }
}

function unfold() {
  const target = named();
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" });
}

for (const place of document.querySelectorAll("section.table")) {
  const table = place.querySelector("table");
  if (!table) continue;
  sortable(table);
  filtered(table, place.querySelector(".tools"));
}
window.addEventListener("hashchange", unfold);
if (location.hash) unfold();
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
