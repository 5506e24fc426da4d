/* Review: files fold when viewed, approval of high and critical opens when every change was viewed, split or unified. */
(() => {
  "use strict";
  const { $, $$, keys, page, stored, store, say } = window.il;
  if (page !== "review") return;
  const boxes = () => $$("[data-viewed]");
  const digest = () => $("[data-digest]")?.dataset.digest ?? "";
  const memory = () => { try { return JSON.parse(stored(`il-viewed:${digest()}`) ?? "[]"); } catch { return []; } };

  function showFile(button, on) {
    button.setAttribute("aria-expanded", String(on));
    const body = document.getElementById(button.getAttribute("aria-controls"));
    body.hidden = !on;
    if (on) htmx.trigger(body, "il-open"); /* a big diff is fetched when it is first opened */
  }
  function gate() {
    const all = boxes();
    if (!all.length) return;
    const left = Number($("[data-changes-total]")?.dataset.changesTotal ?? all.length) - all.filter((b) => b.checked).length;
    const total = all.filter((b) => b.checked).length + left;
    $("[data-viewed-bar]").value = total - left;
    $("[data-viewed-text]").textContent = `${total - left} of ${total} viewed`;
    const form = $("#decide-form[data-gated]");
    if (!form) return;
    const yes = $("[name=decision][value=approve]", form)?.checked ?? true;
    const words = left === 1 ? "1 more change" : `${left} more changes`;
    $("[data-gate-text]", form).textContent = left ? `${words} to view` : total === 1 ? "Change viewed" : `All ${total} changes viewed`;
    $("[data-gate]", form).classList.toggle("is-ok", !left);
    $("[data-approve]", form).hidden = yes && left > 0;
    $("[data-next-unviewed]", form).hidden = !(yes && left > 0);
    $("[data-left]", form).textContent = words;
  }
  function remember() { store(`il-viewed:${digest()}`, JSON.stringify(boxes().filter((b) => b.checked).map((b) => b.value))); }
  function recall() {
    const seen = new Set(memory());
    for (const box of boxes()) if (seen.has(box.value) && !box.checked) mark(box, true);
    gate();
  }
  function mark(box, on) {
    box.checked = on;
    const file = box.closest("[data-change]");
    file.classList.toggle("is-viewed", on);
    if (on) showFile($("[data-toggle]", file), false);
  }
  function next() {
    const file = $("[data-viewed]:not(:checked)")?.closest("[data-change]");
    if (!file) return $("[data-more-changes]")?.click();
    showFile($("[data-toggle]", file), true);
    file.scrollIntoView({ block: "start" });
    $("[data-viewed]", file).focus({ preventScroll: true });
  }
  document.addEventListener("click", (e) => {
    const toggle = e.target.closest("[data-toggle]");
    if (toggle) showFile(toggle, toggle.getAttribute("aria-expanded") !== "true");
    if (e.target.closest("[data-next-unviewed]")) next();
  });
  document.addEventListener("change", (e) => {
    if (e.target.matches("[data-viewed]")) { mark(e.target, e.target.checked); remember(); gate(); }
    if (e.target.matches("[name=decision]")) { verdict(e.target); gate(); }
    if (e.target.matches("[name=view]")) {
      document.cookie = `il-diff=${e.target.value}; path=/; max-age=31536000; samesite=lax`;
      location.reload(); /* only one view is rendered */
    }
  });
  function verdict(radio) {
    const form = radio.form, no = radio.value !== "approve";
    $("[data-approve-text]", form).textContent = { reject: "Reject this plan", ask: "Request changes" }[radio.value] ?? "Approve this plan";
    $("[data-approve]", form).classList.toggle("btn--bad", radio.value === "reject");
    $("[data-approve]", form).classList.toggle("btn--approve", !no);
    $("textarea", form).required = no;
    form.toggleAttribute("data-rejecting", no);
    form.dataset.confirm = no ? "" : form.dataset.confirmWith ?? "";
  }
  let at = -1;
  function jump(step) {
    const files = $$("[data-change]");
    if (!files.length) return;
    at = Math.min(files.length - 1, Math.max(0, at + step));
    showFile($("[data-toggle]", files[at]), true);
    files[at].scrollIntoView({ block: "start" });
    $("[data-toggle]", files[at]).focus({ preventScroll: true });
  }
  const flip = () => { const other = $("[name=view]:not(:checked)"); other ? other.click() : say("No diff on this page"); };
  const decision = () => ($("#decide-sheet")?.matches(":popover-open") || matchMedia("(width < 52rem)").matches ? $("[data-sheet]")?.click() : $("#decide-form [name=decision]:checked, #decide-sheet form button")?.focus());
  keys({
    n: () => jump(1), p: () => jump(-1), s: flip, a: decision, c: () => $("#decide-form textarea")?.focus(),
    v: () => (document.activeElement.closest("[data-change]")?.querySelector("[data-viewed]") ?? $("[data-viewed]:not(:checked)"))?.click(),
  });
  /* the section that is being read is marked in the section nav */
  const spy = new IntersectionObserver((seen) => {
    for (const e of seen) e.target.toggleAttribute("data-in-view", e.isIntersecting);
    const here = $(".rev__main > [data-in-view]");
    for (const a of $$(".subnav a")) if (here && a.hash === `#${here.id}`) a.setAttribute("aria-current", "true"); else a.removeAttribute("aria-current");
  }, { rootMargin: "-64px 0px -55% 0px" });
  const watch = () => { spy.disconnect(); for (const s of $$(".rev__main > [id]")) spy.observe(s); };
  watch();
  document.addEventListener("htmx:after:swap", () => { recall(); watch(); for (const r of $$("#decide-form [name=decision]:checked")) verdict(r); });
  recall();
  if (location.hash === "#decide") decision();
})();
