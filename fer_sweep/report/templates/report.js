"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const table = $("#table");
  const rows = table ? $$("tbody tr", table) : [];
  const cards = new Map(rows.map((row) => [row, document.getElementById(row.dataset.run)]));

  // Sorting: numbers as numbers, missing values last either way; the cards follow the rows.
  const value = (row, column) => row.children[column].dataset.value;
  const compare = (column, sign) => (a, b) => {
    const [left, right] = [value(a, column), value(b, column)];
    if (left === "" || right === "") return (left === "") - (right === "");
    const [x, y] = [Number(left), Number(right)];
    return sign * (Number.isNaN(x) || Number.isNaN(y) ? left.localeCompare(right, "en", { numeric: true }) : x - y);
  };
  const sortBy = (head, column) => {
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const second = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    $$("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    rows.sort(compare(column, order === "ascending" ? 1 : -1));
    for (const row of rows) {
      row.parentNode.append(row);
      const card = cards.get(row);
      card.parentNode.append(card);
    }
  };
  if (table) $$("thead th", table).forEach((head, i) => $("button", head).addEventListener("click", () => sortBy(head, i)));

  // Filtering: every word must occur in the row; pressed verdicts widen, none pressed shows all.
  const filter = $("#filter");
  const tiles = $$(".tile");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = new Set(tiles.filter((t) => t.getAttribute("aria-pressed") === "true").map((t) => t.dataset.verdict));
    let shown = 0;
    for (const row of rows) {
      const text = [...row.children].map((cell) => `${cell.dataset.label || ""} ${cell.dataset.value}`).join(" ").toLowerCase();
      const fits = (!pressed.size || pressed.has(row.dataset.verdict)) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      cards.get(row).hidden = !fits;
      shown += fits;
    }
    $("#count").textContent = `${shown} of ${rows.length}`;
    $("#none").hidden = shown > 0;
  };
  if (filter) {
    filter.addEventListener("input", apply);
    for (const tile of tiles) {
      tile.addEventListener("click", () => {
        tile.setAttribute("aria-pressed", String(tile.getAttribute("aria-pressed") !== "true"));
        apply();
      });
    }
    $("#reset").addEventListener("click", () => {
      filter.value = "";
      tiles.forEach((tile) => tile.setAttribute("aria-pressed", "false"));
      apply();
      filter.focus();
    });
  }

  // A link to a run opens it; printing opens all that are shown.
  const details = $$("details.run");
  const openTarget = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details.run")) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", openTarget);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#run-"]');
    if (link && link.hash === location.hash) openTarget();
  });
  openTarget();
  const toggle = $("#toggle");
  if (toggle) {
    toggle.addEventListener("click", () => {
      const open = toggle.textContent === "Open all";
      details.forEach((item) => { item.open = open; });
      toggle.textContent = open ? "Close all" : "Open all";
    });
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = details.filter((item) => !item.open);
    closed.forEach((item) => { item.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((item) => { item.open = false; }));

  // Reading values off a chart: the curves' own coordinates, turned back into numbers.
  const [left, right, top, bottom] = [46, 510, 16, 190];
  for (const chart of $$("svg.chart")) {
    const output = $(".readout", chart.closest("figure"));
    const data = chart.dataset;
    const [first, last, low, high] = [data.first, data.last, data.low, data.high].map(Number);
    let curves = null;
    let cursor = null;
    const read = () => $$("path.curve", chart).map((path) => ({
      name: path.dataset.name,
      points: [...path.getAttribute("d").matchAll(/([\d.]+),([\d.]+)/g)].map((m) => [Number(m[1]), Number(m[2])]),
    }));
    chart.addEventListener("pointermove", (event) => {
      curves ??= read();
      const box = chart.getBoundingClientRect();
      const x = (event.clientX - box.left) * (chart.viewBox.baseVal.width / box.width);
      const epoch = Math.round(Math.min(Math.max(first + ((x - left) / (right - left)) * (last - first), first), last));
      const at = left + ((right - left) * (epoch - first)) / Math.max(last - first, 1);
      const texts = curves.flatMap(({ name, points }) => {
        const point = points.find(([px]) => Math.abs(px - at) < 0.11);
        if (!point) return [];
        const number = low + ((bottom - point[1]) / (bottom - top)) * (high - low);
        return [`${name} ${data.percent === "1" ? `${(100 * number).toFixed(1)} %` : number.toFixed(3)}`];
      });
      output.textContent = texts.length ? `epoch ${epoch}: ${texts.join(", ")}` : "";
      if (!cursor) {
        cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
        cursor.setAttribute("class", "cursor");
        cursor.setAttribute("y1", top);
        cursor.setAttribute("y2", bottom);
        chart.append(cursor);
      }
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
    });
    chart.addEventListener("pointerleave", () => {
      output.textContent = "";
      if (cursor) cursor.remove();
      cursor = null;
    });
  }
})();
