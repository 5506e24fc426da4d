/* The rules: line numbers, facts to press, a search among them, filters that send themselves, nothing lost unsaved. */
(() => {
  "use strict";
  const { $, $$ } = window.il;
  const number = (box) => {
    const text = $("textarea", box), gutter = $("[data-lines]", box);
    const lines = text.value.split("\n").length;
    if (gutter.dataset.n !== String(lines)) {
      gutter.dataset.n = String(lines);
      gutter.textContent = Array.from({ length: lines }, (_, n) => n + 1).join("\n");
    }
    gutter.scrollTop = text.scrollTop;
  };
  for (const box of $$("[data-codebox]")) {
    const text = $("textarea", box);
    for (const event of ["input", "scroll"]) text.addEventListener(event, () => number(box));
    number(box);
  }

  document.addEventListener("click", (e) => {
    const press = e.target.closest("[data-insert]");
    const text = press && $("#expression");
    if (!text) return;
    const before = text.value.slice(0, text.selectionStart);
    const gap = before && !/[\s(![,]$/.test(before) ? " " : "";
    text.focus();
    text.setRangeText(gap + press.dataset.insert, text.selectionStart, text.selectionEnd, "end");
    text.dispatchEvent(new Event("input", { bubbles: true }));
  });

  document.addEventListener("input", (e) => {
    if (!e.target.matches?.("[data-fact-search]")) return;
    e.stopPropagation();
    const wanted = e.target.value.trim().toLowerCase();
    let found = 0;
    for (const fact of $$("[data-fact]")) { fact.hidden = !fact.dataset.fact.toLowerCase().includes(wanted); found += !fact.hidden; }
    $("[data-fact-none]").hidden = found > 0;
  }, true);
  document.addEventListener("keydown", (e) => { if (e.key === "Enter" && e.target.matches?.("[data-fact-search]")) e.preventDefault(); });

  document.addEventListener("change", (e) => { if (e.target.matches?.("[data-submit]")) e.target.form.requestSubmit(); });

  /* what was typed and not saved: the browser asks before it is thrown away */
  let dirty = false;
  document.addEventListener("input", (e) => { if (e.target.closest?.("[data-dirty]") && e.target.name) dirty = true; });
  document.addEventListener("submit", (e) => { if (!e.defaultPrevented) dirty = false; });
  window.addEventListener("beforeunload", (e) => { if (dirty) e.preventDefault(); });
})();
