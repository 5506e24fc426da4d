/* The queue: a roving row, its preview, and updates that wait until they are asked for. */
(() => {
  "use strict";
  const { $, $$, keys, page } = window.il;
  if (page !== "queue" && page !== "approvals") return;
  const rows = () => $$("[data-row]");
  const current = () => $("[data-row][aria-current]");
  let previewTimer = 0;

  function select(row, focus = true) {
    for (const r of rows()) if (r !== row) r.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    if (focus) $(".row__title", row).focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    clearTimeout(previewTimer);
    if ($("#preview-pane")?.offsetParent) previewTimer = setTimeout(() => htmx.ajax("GET", row.dataset.previewUrl, { target: "#preview-pane", swap: "outerMorph" }), 130);
  }
  function move(step) {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(current());
    select(all[Math.min(all.length - 1, Math.max(0, at + step))]);
  }
  document.addEventListener("click", (e) => {
    const row = e.target.closest("[data-row]");
    if (row && !e.target.closest("a, button") && $("#preview-pane")?.offsetParent) select(row, false);
    if (e.target.closest("[data-preview-close]")) document.body.classList.toggle("no-preview");
  });
  function decide() {
    const row = current() ?? rows()[0];
    if (!row) return;
    const here = $("#preview-pane [data-decide-first]");
    if (here && $("#preview-pane")?.dataset.of === row.dataset.id) here.focus();
    else location.href = `${$(".row__title", row).href}#decide`;
  }
  const updates = () => $("[data-updates]:not([hidden])")?.click();
  keys({ j: () => move(1), k: () => move(-1), a: decide, u: updates });

  /* refresh what is shown in place; what came or moved is counted and waits */
  document.body.addEventListener("il-changed", () => {
    const host = $("#inbox");
    if (!host) return;
    const shown = rows().map((r) => `${r.dataset.id}:${r.dataset.group}`).join(",");
    const params = new URLSearchParams(location.search);
    params.set("shown", shown);
    params.set("tab", host.dataset.tab);
    htmx.ajax("GET", `${host.dataset.live}?${params}`, { target: "#inbox", swap: "none" });
  });
})();
