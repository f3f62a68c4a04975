"use strict";
// The page works without this file; with it the list refreshes itself, due times count down and keys move.

const page = document.body.dataset;
const rows = document.getElementById("rows");

// -- what the server says, and whether the page has all of it ------------------------------------------------------------------------

const SILENCES = 2.5; // heartbeats that may be missed
const PAUSES = [500, 1000, 2000, 4000, 8000, 15000];
const heard = { at: 0, live: false, seq: 0, beat: 5, gone: "" };
let have = Number(page.since);

function say(state, text) {
  const live = document.getElementById("live");
  if (live.dataset.state === state && document.getElementById("live-text").textContent === text) return;
  live.dataset.state = state;
  document.getElementById("live-text").textContent = text;
}

// "Live" is a promise: everything that the server has is here, and it was heard of a moment ago.
function judge() {
  if (heard.gone === "closed") say("stale", "May be out of date: reload the page, or log in again");
  else if (heard.gone) say("stale", "May be out of date: reconnecting");
  else if (!heard.at) return;
  else if (performance.now() - heard.at > SILENCES * heard.beat * 1000) say("stale", "May be out of date: the server is silent");
  else if (!heard.live) say("stale", "May be out of date: the database is away");
  else if (page.page === "list" && have < heard.seq) say("behind", failures ? "May be out of date: trying again" : "Refreshing");
  else say("live", "Live");
}

function hear(message) {
  if (message.kind === "away" || message.kind === "closed") heard.gone = message.kind;
  else {
    heard.gone = "";
    heard.at = performance.now();
    heard.seq = message.kind === "resync" ? message.seq : Math.max(heard.seq, message.seq);
    if (message.kind === "state") Object.assign(heard, { live: message.live, beat: message.beat });
  }
  if (page.page === "list" && (message.kind === "resync" || have < heard.seq)) refresh(message.kind === "resync");
  if (page.page === "result" && message.result === page.result && message.change !== "opened") changed();
  if (page.page === "result" && message.kind === "resync") document.getElementById("changed").hidden = false;
  judge();
}

function follow() {
  const since = Number(page.since);
  if (typeof SharedWorker === "undefined") {
    followAlone(since);
    return;
  }
  const { port } = new SharedWorker("/static/feed.js", "longview");
  port.onmessage = (event) => hear(event.data);
  port.start();
  port.postMessage({ kind: "join", since });
  addEventListener("pagehide", () => port.postMessage({ kind: "leave" }));
  addEventListener("pageshow", (event) => event.persisted && port.postMessage({ kind: "join", since: have }));
}

function followAlone(since) {
  const source = new EventSource("/events?since=" + encodeURIComponent(since));
  source.addEventListener("state", (event) => hear({ kind: "state", ...JSON.parse(event.data) }));
  source.addEventListener("change", (event) => hear({ kind: "change", seq: Number(event.lastEventId), ...JSON.parse(event.data) }));
  source.addEventListener("resync", (event) => hear({ kind: "resync", seq: Number(event.lastEventId) }));
  source.onerror = () => hear({ kind: source.readyState === EventSource.CLOSED ? "closed" : "away" });
}

// -- the list ------------------------------------------------------------------------------------------------------------------------

let fetching = false;
let again = false;
let failures = 0;
let waiting = null; // a newer list that is not shown yet

async function refresh(whole) {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch("/rows?" + page.query, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(15000) });
    if (!answer.ok) throw new Error("rows");
    take(new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".listing"), whole);
    failures = 0;
  } catch {
    failures += 1;
  }
  fetching = false;
  if (failures) setTimeout(refresh, PAUSES[Math.min(failures, PAUSES.length) - 1]);
  else if (again || have < heard.seq) {
    again = false;
    setTimeout(refresh, 50);
  }
  judge();
}

function take(fresh, whole) {
  const seq = Number(fresh.dataset.seq);
  have = whole ? seq : Math.max(have, seq);
  waiting = fresh;
  if (busy()) offer();
  else show();
}

// Rows do not move under a pointer, a finger or the focus: what was aimed at is what opens.
function busy() {
  return rows.matches(":hover") || (rows.contains(document.activeElement) && document.activeElement !== rows);
}

function ids(listing) {
  return [...listing.querySelectorAll(".result")].map((row) => row.id);
}

function arrivals() {
  const known = new Set(ids(rows));
  return [...waiting.querySelectorAll(".result")].filter((row) => !known.has(row.id));
}

function offer() {
  const news = document.getElementById("news");
  const added = arrivals();
  const stat = added.filter((row) => row.querySelector(".priority.stat")).length;
  const text = added.length ? added.length + " new" + (stat ? ", " + stat + " STAT" : "") : "The list has changed";
  if (news.textContent !== text + ": show") document.getElementById("said").textContent = text;
  news.textContent = text + ": show";
  news.classList.toggle("stat", stat > 0);
  news.hidden = false;
}

function show() {
  const added = arrivals();
  const focused = document.activeElement?.closest?.(".result")?.id;
  const fresh = waiting;
  waiting = null;
  rows.replaceChildren(fresh);
  for (const row of added) row.classList.add("arrived");
  if (focused) document.getElementById(focused)?.querySelector("a.open")?.focus();
  document.getElementById("news").hidden = true;
  const count = document.getElementById("open-count");
  if (count) count.textContent = fresh.dataset.open;
  document.title = fresh.dataset.unread + " unread · Longview";
  if (added.length) document.getElementById("said").textContent = added.length === 1 ? "One new result" : added.length + " new results";
  tick();
}

function showWhenIdle() {
  // The focus is between two elements while it moves.
  setTimeout(() => {
    if (waiting && !busy()) show();
  }, 0);
}

function move(step) {
  const links = [...document.querySelectorAll("a.open")];
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  links[Math.min(Math.max(at + step, 0), links.length - 1)].focus();
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(input|select|textarea|button)$/i.test(event.target.tagName)) return;
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  if (event.key === "n" && waiting) show();
}

// Whoever comes back from a result finds the row that they left.
function keepPlace() {
  rows.addEventListener("click", (event) => {
    const row = event.target.closest(".result");
    if (row) sessionStorage.setItem("row", row.id);
  });
  const came = performance.getEntriesByType("navigation")[0]?.type;
  const left = sessionStorage.getItem("row");
  if (came === "back_forward" && left) document.getElementById(left)?.querySelector("a.open")?.focus();
}

// -- one result ----------------------------------------------------------------------------------------------------------------------

function changed() {
  if (document.querySelector("form[data-sent]")) return; // by ourselves, or the answer will say so
  document.getElementById("changed").hidden = false;
  // A decision about what is no longer so would be refused; what was typed stays to be read.
  for (const button of document.querySelectorAll(".decision button")) button.disabled = true;
}

// A decision takes effect after a while in which it can be taken back. The server waits, not the page: whoever leaves has decided.
const SPOKEN = { accepted: "Accepted.", rejected: "Rejected." };
const REFUSED_AT_ONCE = 700; // what is missing is said before anything waits

async function decide(event) {
  const form = event.currentTarget;
  const outcome = event.submitter?.value;
  event.preventDefault();
  if (!outcome || form.dataset.sent) return;
  form.dataset.sent = "yes";
  form.elements.undo_seconds.value = form.dataset.undo;
  const sent = new FormData(form, event.submitter);
  const name = document.getElementById("reviewer");
  if (name) sent.set("reviewer", name.value);
  for (const button of document.querySelectorAll("form[data-undo] button")) button.disabled = true;
  const offered = setTimeout(offerUndo, REFUSED_AT_ONCE, form, sent, performance.now());
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(sent) });
    if (answer.redirected) location.replace(answer.url);
    else replaceMain(await answer.text());
  } catch {
    replaceWith("It is not known whether your decision was recorded: reload the page, and decide again if the result still waits.");
  } finally {
    clearTimeout(offered);
  }
}

function offerUndo(form, sent, began) {
  const offer = document.getElementById("undo");
  const left = document.getElementById("undo-left");
  const button = document.getElementById("undo-button");
  document.getElementById("undo-said").textContent = SPOKEN[sent.get("outcome")];
  offer.hidden = false;
  button.focus();
  const count = setInterval(() => {
    const seconds = Math.ceil(Number(form.dataset.undo) - (performance.now() - began) / 1000);
    left.textContent = Math.max(seconds, 0);
    if (seconds > 0) return;
    clearInterval(count);
    button.disabled = true;
  }, 200);
  button.onclick = () => {
    button.disabled = true;
    // The answer to the decision itself says what became of it.
    fetch("/results/" + page.result + "/undo", { method: "POST", body: new URLSearchParams(sent) }).catch(() => {});
  };
}

function replaceMain(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  document.getElementById("main").replaceWith(document.adoptNode(fresh.getElementById("main")));
  bindForms();
  tick();
  document.querySelector(".problem")?.scrollIntoView({ block: "center" });
}

function replaceWith(sentence) {
  const told = document.createElement("p");
  told.className = "alarm problem";
  told.setAttribute("role", "alert");
  told.textContent = sentence;
  document.querySelector(".decision").replaceChildren(told);
}

function bindForms() {
  for (const form of document.querySelectorAll("form[data-undo]")) {
    form.addEventListener("submit", decide);
    // Chromium lets Enter on a radio button press the first button that is enabled.
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input, select")) event.preventDefault();
    });
  }
  // A second click must not send the form twice; the act's id would make it harmless, but not quick.
  for (const form of document.querySelectorAll(".acknowledge")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
}

// -- times ---------------------------------------------------------------------------------------------------------------------------

function tick() {
  for (const mark of document.querySelectorAll("[data-due]")) {
    if (!mark.dataset.due) continue;
    const minutes = Math.floor((Date.parse(mark.dataset.due) - Date.now()) / 60000);
    const late = minutes < 0;
    mark.textContent = (late ? "overdue " : "due in ") + span(Math.abs(minutes));
    mark.className = "due " + (late ? "overdue" : minutes < 15 ? "soon" : "later");
  }
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString(undefined, { timeZoneName: "short" });
  }
}

function span(minutes) {
  if (minutes < 60) return minutes + " min";
  if (minutes < 48 * 60) return Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " min";
  return Math.floor(minutes / 1440) + " days";
}

if (page.page === "list") {
  document.addEventListener("keydown", keys);
  rows.addEventListener("mouseleave", showWhenIdle);
  rows.addEventListener("focusout", showWhenIdle);
  document.getElementById("news").addEventListener("click", show);
  keepPlace();
  follow();
}
if (page.page === "result") {
  follow();
  bindForms();
}
if (page.page !== "problem") {
  tick();
  setInterval(tick, 20000);
  setInterval(judge, 500);
}
