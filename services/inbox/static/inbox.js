"use strict";
// The page works without this file; with it the list refreshes itself, due times count down and keys move.

const page = document.body.dataset;

function say(state, text) {
  const live = document.getElementById("live");
  live.dataset.state = state;
  document.getElementById("live-text").textContent = text;
}

function follow(onChange) {
  const source = new EventSource("/events?since=" + encodeURIComponent(page.since));
  source.addEventListener("state", (event) => {
    if (event.data === "live") say("live", "Live");
    else say("stale", "May be out of date: the database is away");
  });
  source.addEventListener("change", (event) => onChange(JSON.parse(event.data)));
  source.addEventListener("resync", () => location.reload());
  // A stream that was refused does not come back by itself: the login is over, or the server says no.
  source.onerror = () => say("stale", source.readyState === EventSource.CLOSED ? "May be out of date: reload the page" : "May be out of date: reconnecting");
}

let refreshing = false;
let again = false;

async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  try {
    const answer = await fetch("/rows?" + page.query, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error("rows");
    show(await answer.text());
  } catch {
    say("stale", "May be out of date: reload the page");
  } finally {
    refreshing = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

function show(html) {
  const rows = document.getElementById("rows");
  const known = new Set([...rows.querySelectorAll(".result")].map((row) => row.id));
  const focused = document.activeElement?.closest?.(".result")?.id;
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector(".listing");
  rows.replaceChildren(fresh);
  const added = [...rows.querySelectorAll(".result")].filter((row) => !known.has(row.id));
  for (const row of added) row.classList.add("arrived");
  if (focused) document.getElementById(focused)?.querySelector("a.open")?.focus();
  const count = document.getElementById("open-count");
  if (count) count.textContent = fresh.dataset.open;
  document.title = fresh.dataset.unread + " unread · Longview";
  if (added.length) document.getElementById("said").textContent = added.length === 1 ? "One new result" : added.length + " new results";
  tick();
}

function tick() {
  for (const mark of document.querySelectorAll("[data-due]")) {
    if (!mark.dataset.due) continue;
    const minutes = Math.floor((Date.parse(mark.dataset.due) - Date.now()) / 60000);
    const late = minutes < 0;
    mark.textContent = (late ? "overdue " : "due in ") + span(Math.abs(minutes));
    mark.className = "due " + (late ? "overdue" : minutes < 15 ? "soon" : "later");
  }
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString();
  }
}

function span(minutes) {
  if (minutes < 60) return minutes + " min";
  if (minutes < 48 * 60) return Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " min";
  return Math.floor(minutes / 1440) + " days";
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
}

if (page.page === "list") {
  document.addEventListener("keydown", keys);
  follow(refresh);
}
if (page.page === "result") {
  follow((change) => {
    if (change.result === page.result && change.kind !== "opened") document.getElementById("changed").hidden = false;
  });
  // A second click must not send the form twice; the act's id would make it harmless, but not quick.
  document.querySelector(".decision form")?.addEventListener("submit", (event) => {
    const form = event.currentTarget;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
if (page.page !== "problem") {
  tick();
  setInterval(tick, 20000);
}
