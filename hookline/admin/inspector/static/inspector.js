"use strict";

// Rows are made of text nodes only, whatever a callback says.
const MAX_ROWS = 500;

function cell(row, label, text, href) {
  const td = row.insertCell();
  td.dataset.label = label;
  if (href && text) {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = text;
    td.append(link);
  } else {
    td.textContent = text || "";
  }
}

// What is invisible or turns the direction of a text is shown as its code.
function printable(text) {
  return String(text ?? "").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (each) => "\\u" + each.codePointAt(0).toString(16).padStart(4, "0"));
}

function time(text) {
  return new Date(text).toISOString().slice(0, 19).replace("T", " ");
}

function age(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return Number((seconds / length).toPrecision(3)) + " " + unit;
  }
  return Math.round(seconds) + " s";
}

function query(path, values) {
  return path + "?" + new URLSearchParams(values);
}

function eventCells(row, event) {
  const facts = Object.entries(event.facts).map(([name, text]) => name + "=" + text).join(" ");
  const late = event.late_s === null ? "" : " (received " + age(event.late_s) + " later)";
  cell(row, "received", time(event.received_at), query("/event", { id: event.id }));
  cell(row, "topic", event.topic);
  cell(row, "source", event.source);
  const room = { provider: event.provider, source: event.source, id: event.room_id };
  cell(row, "room", event.room_id && printable(event.room_id), query("/room", room));
  cell(row, "user", event.user_id && printable(event.user_id), query("/events", { user: event.user_id }));
  cell(row, "what", printable(facts) + late);
}

function refusedCells(row, refused) {
  cell(row, "received", time(refused.at_s * 1000), query("/refusal", { id: refused.id }));
  cell(row, "topic", "refused");
  cell(row, "source", refused.source || "none");
  cell(row, "room", "");
  cell(row, "user", "");
  cell(row, "what", refused.status + " " + refused.reason + ": " + printable(refused.detail));
  row.className = "bad";
}

function live(rows) {
  const state = document.getElementById("live-state");
  const pause = document.getElementById("live-pause");
  let isPaused = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
  });
  const add = (fill) => (message) => {
    if (isPaused) return;
    fill(rows.insertRow(0), JSON.parse(message.data));
    while (rows.rows.length > MAX_ROWS) rows.deleteRow(-1);
  };
  const source = new EventSource("/live/stream");
  source.addEventListener("open", () => { state.textContent = "Connected."; });
  source.addEventListener("error", () => { state.textContent = "The connection is lost; trying again."; });
  source.addEventListener("event", add(eventCells));
  source.addEventListener("refused", add(refusedCells));
  source.addEventListener("fault", (message) => { state.textContent = printable(JSON.parse(message.data).text); });
  source.addEventListener("left_out", (message) => { state.textContent = JSON.parse(message.data).events + " more events were left out."; });
}

const rows = document.getElementById("live-rows");
if (rows) live(rows);
