/* New action: say when the form and its dry run no longer agree. */
(() => {
  "use strict";
  const { $, page } = window.il;
  if (page !== "new") return;
  document.addEventListener("input", (e) => {
    const note = $("[data-preview-stale]");
    if (note && e.target.closest("#compose")) { note.hidden = false; $("[data-preview]").classList.add("is-stale"); }
  });
  document.addEventListener("submit", (e) => { if (e.submitter?.value !== "submit") return; $("[data-preview]")?.classList.add("is-stale"); });
})();
