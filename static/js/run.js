/* Run: follow the log, arm before abort. */
(() => {
  "use strict";
  const { $, $$, keys, page } = window.il;
  if (page !== "run") return;
  const follow = () => $("#follow")?.checked;
  const down = () => { const log = $("#log"); if (log && follow()) log.scrollTop = log.scrollHeight; };
  document.addEventListener("htmx:after:swap", down);
  document.addEventListener("scroll", (e) => {
    if (e.target.id !== "log") return;
    const box = $("#follow"), log = e.target;
    if (box?.checked && log.scrollHeight - log.scrollTop - log.clientHeight > 120) box.checked = false;
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

  /* abort: arm, then confirm; it disarms by itself unless something is being typed */
  let left = 0, timer = 0;
  function set(armed) {
    const panel = $("[data-abort]");
    clearInterval(timer);
    if (!panel) return;
    panel.dataset.state = armed ? "armed" : "safe";
    $(".abort__safe", panel).hidden = armed;
    $(".abort__armed", panel).hidden = !armed;
    if (!armed) return;
    left = 15;
    $("[data-disarm-btn]", panel).focus();
    timer = setInterval(() => { $("[data-disarm]", panel).textContent = String(--left); if (left <= 0) set(false); }, 1000);
  }
  document.addEventListener("click", (e) => {
    if (e.target.closest("[data-arm]")) { e.preventDefault(); set(true); }
    if (e.target.closest("[data-disarm-btn]")) { e.preventDefault(); set(false); }
  });
  document.addEventListener("input", (e) => { if (e.target.closest("[data-abort]")) left = 15; });
  if ($("[data-abort]")) set(false);
  down();
})();
