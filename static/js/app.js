/* Interlock behaviours on every page: no framework, no inline handlers, all delegated, so that they survive a morph. */
window.il = (() => {
  "use strict";
  const $ = (s, r = document) => r.querySelector(s);
  const $$ = (s, r = document) => [...r.querySelectorAll(s)];
  const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const store = (key, value) => { try { value === null ? localStorage.removeItem(key) : localStorage.setItem(key, value); } catch { /* private mode */ } };

  function say(text) {
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.textContent = text;
    $("#toasts")?.append(toast);
    setTimeout(() => toast.remove(), 3200);
  }

  /* theme: system → light → dark, in a cookie, so that the server writes it into the next page */
  function cycleTheme() {
    const root = document.documentElement;
    const next = { undefined: "light", light: "dark", dark: "" }[root.dataset.theme];
    if (next) root.dataset.theme = next; else delete root.dataset.theme;
    document.cookie = `il-theme=${next}; path=/; max-age=${next ? 31536000 : 0}; samesite=lax`;
    say(`Theme: ${next || "system"}`);
  }

  const open = (id) => { const d = document.getElementById(id); if (d && !d.open) { d.showModal(); $("input:not([type=hidden],[type=radio]), textarea", d)?.focus(); } };
  document.addEventListener("click", (e) => {
    const opener = e.target.closest("[data-open]");
    if (opener) return open(opener.dataset.open);
    if (e.target.closest("[data-theme-toggle]")) return cycleTheme();
    const copy = e.target.closest("[data-copy]");
    if (copy) return navigator.clipboard?.writeText(copy.dataset.copy).then(() => say("Copied"), () => say("Copy failed: the browser refused"));
    const fold = e.target.closest("[data-unfold]");
    if (fold) {
      const body = fold.closest("tbody").nextElementSibling;
      body.hidden = !body.hidden;
      fold.setAttribute("aria-expanded", String(!body.hidden));
    }
    if (e.target.matches("dialog")) e.target.close(); /* a click on the backdrop */
    for (const menu of $$("details:is(.me-menu, .menu)[open]")) if (!menu.contains(e.target)) menu.open = false;
  });

  /* a dialog asks before a form is sent: <form data-confirm="dialog id">, its yes button is <button form=…> */
  document.addEventListener("submit", (e) => {
    const dialog = document.getElementById(e.target.dataset.confirm ?? "");
    if (dialog && !dialog.open && !e.submitter?.hasAttribute("data-no-confirm")) {
      e.preventDefault();
      e.stopPropagation();
      return open(dialog.id);
    }
    if (dialog) dialog.close();
    if (e.submitter && e.target.method !== "dialog") { e.submitter.setAttribute("aria-busy", "true"); setTimeout(() => e.submitter.removeAttribute("aria-busy"), 8000); }
  }, true);

  /* drafts: what was typed into data-draft is kept for this tab until it is sent */
  const drafts = { get: (k) => { try { return sessionStorage.getItem(`il-draft:${k}`); } catch { return null; } },
    set: (k, v) => { try { v ? sessionStorage.setItem(`il-draft:${k}`, v) : sessionStorage.removeItem(`il-draft:${k}`); } catch { /* private mode */ } } };
  const redraft = (root = document) => { for (const el of $$("[data-draft]", root)) if (!el.value) el.value = drafts.get(el.dataset.draft) ?? ""; };
  document.addEventListener("input", (e) => { if (e.target.dataset?.draft) drafts.set(e.target.dataset.draft, e.target.value); });
  document.addEventListener("htmx:after:swap", () => redraft());
  const sent = (form) => { for (const el of $$("[data-draft]", form)) drafts.set(el.dataset.draft, ""); };
  document.addEventListener("submit", (e) => { if (!e.defaultPrevented && !e.target.hasAttribute("hx-post")) sent(e.target); });
  document.addEventListener("htmx:after:request", (e) => { if (e.detail.ctx.request.method === "POST" && e.detail.ctx.response.status < 400) sent(e.detail.ctx.sourceElement); });
  document.addEventListener("htmx:finally:request", () => { for (const el of $$("[aria-busy=true]")) el.removeAttribute("aria-busy"); });

  /* clocks: one timer for the page, on the server's clock; the server stays the judge of expiry */
  const skew = Number($('meta[name="il-now"]')?.content ?? Date.now() / 1000) - Date.now() / 1000;
  const now = () => Date.now() / 1000 + skew;
  const mmss = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  function words(s) {
    if (s < 3600) return mmss(s);
    if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} m`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  }
  const put = (el, text) => { if (el.textContent !== text) el.textContent = text; };
  setInterval(() => {
    for (const el of $$("[data-until]")) put(el, words(Math.max(0, el.dataset.until - now())));
    for (const el of $$("[data-since]")) put(el, words(Math.max(0, now() - el.dataset.since)));
  }, 1000);

  /* keys: never while typing, never with a modifier, and they can be turned off (WCAG 2.1.4) */
  let keysOn = stored("il-keys") !== "off";
  for (const box of $$("[data-keys]")) {
    box.checked = keysOn;
    box.addEventListener("change", () => { keysOn = box.checked; store("il-keys", keysOn ? null : "off"); });
  }
  const search = () => { const field = $("[data-search]"); if (field?.offsetParent) { field.focus(); field.select(); } else open("search"); };
  const keymap = { "?": () => open("help"), "/": search, t: cycleTheme, g: () => { going = true; setTimeout(() => { going = false; }, 900); } };
  let going = false;
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") for (const menu of $$("details:is(.me-menu, .menu)[open]")) menu.open = false;
    if (!keysOn || e.ctrlKey || e.metaKey || e.altKey || !e.key) return;
    if (e.target.closest?.("input:not([type=checkbox],[type=radio]), textarea, select, [contenteditable]")) return;
    if ($("dialog[open]")) return;
    if (going) {
      going = false;
      const link = $(`[data-go="${CSS.escape(e.key)}"]`);
      if (link) { e.preventDefault(); location.href = link.href; }
      return;
    }
    const act = keymap[e.key];
    if (act) { e.preventDefault(); act(); }
  });

  redraft();
  return { $, $$, say, open, stored, store, drafts, keys: (more) => Object.assign(keymap, more), now, page: document.body.dataset.page };
})();
