/** The list of events: bounded, filtered, and drawn at most once for each frame. */

import { $, clock, make, title } from "./dom.js";

/** Kept for filters and requests. */
const KEPT = 2_000;
/** Shown at a time. */
const SHOWN = 200;
/** Names that are offered as filters. */
const NAMES = 200;

/** Newest last. */
const kept = [];
const names = new Set();
/** Came since the last drawing. */
let fresh = [];
let paused = false;
let missed = 0;
let drawing = false;
let onRequest = () => {};

/** Adds an event. */
export function add(event) {
  kept.push(event);
  // Not one at a time: that would move the others each time.
  if (kept.length > KEPT * 1.1) kept.splice(0, kept.length - KEPT);
  if (!names.has(event.type) && names.size < NAMES) {
    names.add(event.type);
    $("types").append(make("option", { value: event.type }));
  }
  if (paused) {
    missed += 1;
  } else {
    fresh.push(event);
    // A tab that is hidden draws nothing, for as long as it is hidden.
    if (fresh.length > SHOWN * 2) fresh = fresh.slice(-SHOWN);
  }
  draw();
}

/** The events of a request that are still kept. */
export function ofRequest(id) {
  return kept.filter((event) => event.correlation_id === id);
}

/** Begins; `show` is called with the correlation ID that somebody picks. */
export function begin(show) {
  onRequest = show;
  for (const id of ["filter-type", "filter-topic", "filter-text"]) {
    $(id).addEventListener("input", redraw);
  }
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", () => {
    kept.length = missed = 0;
    redraw();
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    missed = 0;
    $("pause").classList.toggle("main", paused);
    $("pause").textContent = paused ? "Go on" : "Pause";
    if (paused) tell("polite");
    else redraw();
  });
}

/** Draws all anew, as the filters are now. */
function redraw() {
  fresh = [];
  $("events").replaceChildren(...newest(kept).map(row));
  tell("polite");
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const list = $("events");
    const rows = newest(fresh).map(row);
    fresh = [];
    // Who has scrolled down reads there, and must not be carried off.
    const before = list.scrollTop > 0 ? list.scrollHeight : 0;
    list.prepend(...rows);
    while (list.childElementCount > SHOWN) oldest(list).remove();
    if (before > 0 && rows.length > 0) list.scrollTop += list.scrollHeight - before;
    tell();
  });
}

/** The row that goes next: the last that nobody reads, where there is one. */
function oldest(list) {
  let row = list.lastElementChild;
  while (row && (row.firstElementChild.open || row.contains(document.activeElement))) {
    row = row.previousElementSibling;
  }
  return row ?? list.lastElementChild;
}

/** Those to be shown of some events, newest first. */
function newest(events) {
  const passes = filter();
  const found = [];
  for (let at = events.length - 1; at >= 0 && found.length < SHOWN; at -= 1) {
    if (passes(events[at])) found.push(events[at]);
  }
  return found;
}

function filter() {
  const [type, topic, text] = ["type", "topic", "text"].map((name) => $(`filter-${name}`).value.trim());
  const types = type.split(",").map((name) => name.trim()).filter(Boolean);
  const wanted = text.toLowerCase();
  return (event) =>
    (types.length === 0 || types.some((name) => event.type.startsWith(name))) &&
    (topic === "" || reaches(topic, event.topic)) &&
    (wanted === "" || JSON.stringify(event).toLowerCase().includes(wanted));
}

function reaches(pattern, topic = "") {
  if (pattern === "*" || pattern === topic) return true;
  return pattern.endsWith(".*") && topic.startsWith(pattern.slice(0, -1));
}

/** Says how many there are; aloud where somebody has asked for it, not with each event. */
function tell(live = "off") {
  $("shown").setAttribute("aria-live", live);
  const shown = $("events").childElementCount;
  const counted = `${shown} shown, ${Math.min(kept.length, KEPT)} kept`;
  const text = paused ? `Paused. ${missed} more since then.` : kept.length ? counted : "Waiting for events.";
  if ($("shown").textContent !== text) $("shown").textContent = text;
}

function row(event) {
  const summary = make(
    "summary",
    {},
    make("time", { dateTime: event.timestamp }, clock(event.timestamp)),
    title(event),
    make("span", { className: "preview" }, json(event.payload).slice(0, 300)),
  );
  const details = make("details", {}, summary);
  // Made when somebody looks.
  details.addEventListener("toggle", () => details.append(detail(event)), { once: true });
  return make("li", { data: { id: event.event_id } }, details);
}

/** As text, in which nothing can change the order of what is shown. */
function json(value, indent) {
  const escape = (sign) => `\\u${sign.charCodeAt(0).toString(16)}`;
  return JSON.stringify(value, null, indent).replace(/[\u202a-\u202e\u2066-\u2069]/g, escape);
}

function detail(event) {
  const text = json(event, 2);
  const copy = make("button", { type: "button", className: "small" }, "Copy JSON");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "The browser does not allow it";
    }
  });
  const buttons = make("div", { className: "buttons" }, copy);
  if (event.correlation_id !== null) {
    const pick = make("button", { type: "button", className: "small" }, "Show this request");
    pick.addEventListener("click", () => onRequest(event.correlation_id));
    buttons.append(pick);
  }
  return make("div", { className: "detail" }, buttons, make("pre", {}, text));
}
