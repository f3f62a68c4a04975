"use strict";
// One stream of changes for all pages of a browser (a SharedWorker): over HTTP/1.1 a browser opens six connections to a host, and each stream keeps one.
// Pages hear: {kind: "state", live, seq, beat}, {kind: "change", seq, result, change}, {kind: "resync", seq}, {kind: "away"}, {kind: "closed"}.

const KEPT = 500;
const pages = new Set();
let source = null;
let state = null;
let position = 0;
let changes = [];

function tell(message) {
  for (const page of pages) page.postMessage(message);
}

function follow(since) {
  position = since;
  changes = [];
  source = new EventSource("/events?since=" + encodeURIComponent(since));
  source.addEventListener("state", (event) => {
    state = { kind: "state", ...JSON.parse(event.data) };
    tell(state);
  });
  source.addEventListener("change", (event) => {
    position = Number(event.lastEventId);
    changes.push({ kind: "change", seq: position, ...JSON.parse(event.data) });
    if (changes.length > KEPT) changes.shift();
    tell(changes.at(-1));
  });
  source.addEventListener("resync", (event) => {
    position = Number(event.lastEventId);
    changes = [];
    tell({ kind: "resync", seq: position });
  });
  // A stream that was refused does not come back by itself: the login is over, or the server says no.
  source.onerror = () => tell({ kind: source.readyState === EventSource.CLOSED ? "closed" : "away" });
}

function join(page, since) {
  pages.add(page);
  if (!source || source.readyState === EventSource.CLOSED) {
    follow(since);
    return;
  }
  if (state) page.postMessage(state);
  if (since < position - changes.length) page.postMessage({ kind: "resync", seq: position });
  else for (const change of changes) if (change.seq > since) page.postMessage(change);
}

function attach(page) {
  page.onmessage = (event) => (event.data.kind === "leave" ? pages.delete(page) : join(page, event.data.since));
}

onconnect = (event) => attach(event.ports[0]);
