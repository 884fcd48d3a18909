/** The view of one request: everything that it caused, with the time since its first event. */

import { $, ask, instant, make, refusal, span, title, unreachable } from "./dom.js";
import { ofRequest } from "./events.js";
import { select } from "./tabs.js";

/** Pages of the history that are looked through. */
const PAGES = 20;
const PAGE = 1_000;
/** The most events that are shown. */
const SHOWN = 500;

let shown = null;
let found = new Map();
let drawing = false;

/** Shows a request. */
export async function show(id) {
  select("trace");
  $("trace-id").value = id;
  // On a narrow screen it is below all else.
  const { top } = $("tab-trace").getBoundingClientRect();
  if (top > innerHeight / 2) $("tab-trace").scrollIntoView();
  shown = id;
  found = new Map();
  ofRequest(id).forEach(note);
  draw();
  $("trace-result").textContent = "Looking through the history.";
  const complaint = await search(id).catch(unreachable);
  if (shown === id) draw(complaint);
}

/** Adds an event, if it is of the request that is shown. */
export function add(event) {
  if (shown === null || event.correlation_id !== shown) return;
  // At most once for each frame, however many come.
  if (!note(event) || drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

export function begin() {
  $("trace-form").addEventListener("submit", (event) => {
    event.preventDefault();
    show($("trace-id").value.trim());
  });
}

/** Keeps an event, if there is room. */
function note(event) {
  const isRoom = found.size < SHOWN;
  if (isRoom) found.set(event.event_id, event);
  return isRoom;
}

/** Looks for more in what the server retains; gives what stood in the way. */
async function search(id) {
  let after = "";
  for (let page = 0; page < PAGES; page += 1) {
    const answer = await ask(`/api/v1/events?limit=${PAGE}&after=${encodeURIComponent(after)}`);
    if (shown !== id) return null;
    if (!answer.ok) return refusal(answer);
    answer.body.events.filter((event) => event.correlation_id === id).forEach(note);
    after = answer.body.next;
    if (after === null) return null;
  }
  return `Only the oldest ${PAGES * PAGE} retained events were looked through.`;
}

function draw(complaint = null) {
  const events = [...found.values()].sort((a, b) => instant(a.timestamp) - instant(b.timestamp));
  const times = events.map((event) => instant(event.timestamp));
  const [first, last] = [times[0], times.at(-1)];
  const rows = events.map((event, at) => {
    const offset = times[at] - first;
    const bar = make("meter", { max: Math.max(last - first, 0.001), value: offset });
    bar.setAttribute("aria-label", `${span(offset)} after the first`);
    return make("li", {}, make("span", { className: "offset" }, `+${span(offset)}`), title(event), bar);
  });
  $("trace-events").replaceChildren(...rows);
  const beginning = events.length === SHOWN ? "The first " : "";
  const count = events.length === 1 ? "1 event" : `${beginning}${events.length} events`;
  const summary = events.length ? `${count} within ${span(last - first)}.` : "No event has this ID.";
  $("trace-result").textContent = complaint ? `${summary} ${complaint}` : summary;
}
