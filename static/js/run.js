/* Run: follow the log, arm before abort. */
(() => {
  "use strict";
  const { $, $$, keys, now, page } = window.il;
  if (page !== "run") return;
  const follow = () => $("#follow")?.checked;
  const down = () => { const log = $("#log"); if (log && follow()) log.scrollTop = log.scrollHeight; };
  document.addEventListener("htmx:after:swap", down);
  document.addEventListener("scroll", (e) => {
    if (e.target.id !== "log") return;
    const box = $("#follow"), log = e.target;
    const above = log.scrollHeight - log.scrollTop - log.clientHeight;
    if (box?.checked && above > 120) box.checked = false;
    else if (box && !box.checked && above < 4) box.checked = true; /* back at the end: go on with it */
  }, true);
  document.addEventListener("change", (e) => {
    if (e.target.id === "follow") down();
    if (e.target.name === "level") $("#log").classList.toggle("log--warnings", e.target.value === "warnings");
  });
  let seen = -1;
  function nextWarning() {
    const bad = $$(".log__l--w, .log__l--e");
    if (!bad.length) return;
    $("#follow").checked = false;
    seen = (seen + 1) % bad.length;
    bad[seen].scrollIntoView({ block: "center" });
  }
  keys({ f: () => $("#follow")?.click(), e: nextWarning });

  /* how long it should still take: the same words as the server's (actions/preflight/duration_estimate.py), which puts them right at every change */
  function left(s) {
    if (s <= 0) return "should end any moment";
    if (s < 10) return "a few seconds left";
    if (s < 90) return `about ${5 * Math.round(s / 5)} s left`;
    return s < 5400 ? `about ${Math.round(s / 60)} min left` : `about ${Math.round(s / 3600)} h left`;
  }
  setInterval(() => {
    for (const el of $$("[data-left]")) {
      const late = now() > el.dataset.late, words = late ? "longer than usual" : left(el.dataset.left - now());
      if (el.textContent !== words) el.textContent = words;
      el.classList.toggle("is-late", late);
    }
  }, 1000);

  /* abort: the first press fetches what would happen, the second confirms; what is not confirmed is put away again */
  let armed_s = 0;
  document.addEventListener("htmx:after:swap", () => {
    const title = $("[data-armed]:not([data-seen])");
    if (!title) return;
    title.dataset.seen = "";
    armed_s = 60;
    title.focus();
  });
  setInterval(() => { if (armed_s > 0 && --armed_s === 0) $(".abort__armed [data-disarm-btn]")?.click(); }, 1000);
  document.addEventListener("input", (e) => { if (e.target.closest("[data-abort]")) armed_s = 60; });
  down();
})();
