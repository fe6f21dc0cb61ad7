"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Live parts: the server draws, this only swaps what has changed, and stops once the run has ended.
  const main = $("[data-live]");
  const live = $("#live");
  const say = (text, on) => {
    if (live && live.textContent !== text) live.textContent = text;
    if (live) live.classList.toggle("on", on);
  };
  const toBottom = (root) => $$("[data-follow]", root).forEach((box) => { box.scrollTop = box.scrollHeight; });
  toBottom(document);

  const swap = (part, html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    $$("details[data-keep]", part).forEach((old) => {
      const next = $(`details[data-keep="${old.dataset.keep}"]`, fresh);
      if (next) next.open = old.open;
    });
    const box = $("[data-follow]", part);
    const atBottom = !box || box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    const offset = box ? box.scrollTop : 0;
    const scrolled = $(".scroll", part) ? $(".scroll", part).scrollLeft : 0;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && focused.dataset.focus;
    part.replaceChildren(...fresh.childNodes);
    if (atBottom) toBottom(part); else if ($("[data-follow]", part)) $("[data-follow]", part).scrollTop = offset;
    if ($(".scroll", part)) $(".scroll", part).scrollLeft = scrolled;
    const again = key ? $$("[data-focus]", part).find((item) => item.dataset.focus === key) : focused && $("[tabindex]", part);
    if (again) again.focus({ preventScroll: true });
  };

  const watch = () => {
    const every = Number(main.dataset.every);
    let failures = 0;
    let timer = 0;
    const next = (delay) => { clearTimeout(timer); timer = setTimeout(look, delay); };
    const look = async () => {
      if (document.hidden) return;  // asked again when the page is shown
      const query = new URLSearchParams(location.search);
      new URLSearchParams(main.dataset.query || "").forEach((value, name) => query.set(name, value));
      query.set("have", main.dataset.version);
      try {
        const answer = await fetch(`${main.dataset.live}?${query}`, { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(String(answer.status));
        const news = await answer.json();
        failures = 0;
        main.dataset.version = news.version;
        for (const [name, html] of Object.entries(news.parts || {})) {
          const part = $(`[data-part="${name}"]`);
          const selecting = part && !getSelection().isCollapsed && part.contains(getSelection().anchorNode);
          if (part && !selecting) swap(part, html);
        }
        if (!news.alive) return say("ended", false);
        say("live", true);
        return next(news.soon ? 200 : every);
      } catch {
        failures += 1;
        if (failures > 8) return say("the server is gone: reload to try again", false);
        say("no answer from the server", false);
        return next(every * 2 ** Math.min(failures, 4));
      }
    };
    document.addEventListener("visibilitychange", () => { if (!document.hidden && failures <= 8 && main.dataset.alive === "1") next(0); });
    say("live", true);
    next(Number(main.dataset.first || every));
  };
  if (main && main.dataset.alive === "1") watch();

  // Choosing a state shows it at once; the button is for those without a script, and for the words.
  $$("form.filter select").forEach((select) => select.addEventListener("change", () => select.form.requestSubmit()));

  // Reading values off a chart: the curves' own coordinates, turned back into numbers.
  const [left, right, top, bottom] = [46, 510, 16, 190];
  const text = (value) => (Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toPrecision(3) : String(Number(value.toPrecision(4))));
  document.addEventListener("pointermove", (event) => {
    const chart = event.target.closest && event.target.closest("svg.chart");
    $$("svg.chart .cursor").forEach((line) => { if (line.parentNode !== chart) { clear(line.parentNode); } });
    if (chart) read(chart, event.clientX);
  });
  const clear = (chart) => {
    $$(".cursor", chart).forEach((line) => line.remove());
    const output = $(".readout", chart.closest("figure"));
    if (output) output.textContent = "";
  };
  const read = (chart, clientX) => {
    const data = chart.dataset;
    const [first, last, low, high] = [data.first, data.last, data.low, data.high].map(Number);
    const box = chart.getBoundingClientRect();
    const x = (clientX - box.left) * (chart.viewBox.baseVal.width / box.width);
    const curves = $$("path.curve", chart).map((path) => ({
      name: path.dataset.name,
      points: [...path.getAttribute("d").matchAll(/([\d.]+),([\d.]+)/g)].map((m) => [Number(m[1]), Number(m[2])]),
    }));
    const all = curves.flatMap(({ points }) => points.map(([px]) => px));
    if (!all.length) return;
    const at = all.reduce((best, px) => (Math.abs(px - x) < Math.abs(best - x) ? px : best));
    const position = first + ((at - left) / (right - left)) * (last - first);
    const texts = curves.flatMap(({ name, points }) => {
      const point = points.find(([px]) => Math.abs(px - at) < 0.11);
      if (!point) return [];
      const value = low + ((bottom - point[1]) / (bottom - top)) * (high - low);
      const shown = data.percent === "1" ? `${(100 * value).toFixed(1)} %` : text(value);
      return [curves.length > 1 ? `${name} ${shown}` : shown];
    });
    const axis = data.axis || "epoch";
    const where = axis === "minutes" ? `${position.toFixed(1)} min` : `${axis} ${Math.round(position)}`;
    const output = $(".readout", chart.closest("figure"));
    if (output) output.textContent = `${where}: ${texts.join(", ")}`;
    let cursor = $(".cursor", chart);
    if (!cursor) {
      cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
      cursor.setAttribute("class", "cursor");
      cursor.setAttribute("y1", top);
      cursor.setAttribute("y2", bottom);
      chart.append(cursor);
    }
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
  };
})();
