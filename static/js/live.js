/* Live pages: the socket only says that something changed; htmx fetches it over HTTP and morphs it in.
   <body data-live="/ws/…/">. Everything that listens has hx-trigger="il-changed from:body". */
(() => {
  "use strict";
  const path = document.body.dataset.live;
  if (!path) return;
  const { $, $$, say } = window.il;
  const POLL_MS = 5000, HEARTBEAT_LATE_MS = 4000;
  let socket = null, tries = 0, retry = 0, poll = 0, soon = 0, seq = -1, all = false, lost = false, ended = false;

  function show(state, text) {
    for (const bar of $$("[data-conn]")) {
      bar.hidden = false;
      bar.dataset.state = state;
      $("[data-conn-text]", bar).textContent = text;
    }
    document.body.classList.toggle("is-offline", state !== "live");
  }
  /* several messages within a moment are one fetch; the same seq once more says that only the log grew */
  function changed(detail) {
    if (detail) document.dispatchEvent(new CustomEvent("il-message", { detail }));
    const grew = detail && detail.seq === seq;
    if (detail) seq = detail.seq;
    if (!grew) all = true;
    if (soon) return;
    soon = setTimeout(() => { const what = all ? "il-changed" : "il-said"; soon = 0; all = false; htmx.trigger(document.body, what); }, 120);
  }
  function fallBack() {
    if (poll || ended) return;
    lost = true;
    show("lost", `Reconnecting. Polling every ${POLL_MS / 1000} s`);
    poll = setInterval(() => { if (!document.hidden) changed(null); }, POLL_MS);
  }
  function connect() {
    clearTimeout(retry);
    const late = setTimeout(fallBack, HEARTBEAT_LATE_MS);
    socket = new WebSocket(path);
    socket.onopen = () => {
      clearTimeout(late);
      clearInterval(poll);
      poll = 0;
      tries = 0;
      show("live", "Live");
      if (lost) { lost = false; changed(null); } /* what happened meanwhile */
    };
    socket.onmessage = (e) => { try { changed(JSON.parse(e.data)); } catch { changed(null); } };
    socket.onclose = (e) => {
      clearTimeout(late);
      if (ended) return;
      if (e.code === 4401 || e.code === 4403 || e.code === 4404) { ended = true; return show("gone", "Access ended"); }
      fallBack();
      retry = setTimeout(connect, Math.min(30000, 500 * 2 ** tries++) * (0.7 + 0.6 * Math.random()));
    };
  }
  addEventListener("pagehide", () => { ended = true; socket?.close(); });
  addEventListener("online", () => { if (socket?.readyState > 1) connect(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && socket?.readyState > 1 && !ended) connect(); });
  /* a fetch that was refused says why, once */
  let told = false;
  document.addEventListener("htmx:response:error", (e) => {
    const status = e.detail.ctx.response.status;
    if (told || ![401, 403, 404].includes(status) || e.detail.ctx.request.method !== "GET") return;
    told = true;
    say(status === 401 ? "Sign-in expired. Sign in again." : "You no longer have access to this page.");
  });
  connect();
})();
