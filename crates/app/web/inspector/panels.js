/** Publishing by hand, the connections of the server, and the log of this page's own. */

import { $, ask, clock, make, refusal, unreachable } from "./dom.js";
import { selected } from "./tabs.js";

const LOG_LINES = 100;
const ROWS = 200;
const REFRESH = 2_000;

export function begin() {
  $("publish-form").addEventListener("submit", (event) => {
    event.preventDefault();
    publish();
  });
  document.addEventListener("tab", refresh);
  setInterval(refresh, REFRESH);
}

/** Writes a line of the log. */
export function log(text) {
  const now = new Date();
  const time = make("time", { dateTime: now.toISOString() }, clock(now));
  $("log-lines").prepend(make("li", {}, time, make("span", {}, text)));
  while ($("log-lines").childElementCount > LOG_LINES) $("log-lines").lastElementChild.remove();
}

async function publish() {
  const field = (name) => $(`publish-${name}`).value.trim();
  const say = (text) => ($("publish-result").textContent = text);
  const payload = field("payload") || "{}";
  try {
    JSON.parse(payload);
  } catch (error) {
    return say(`The payload is no JSON: ${error.message}`);
  }
  const parts = [`"type":${JSON.stringify(field("type"))}`];
  if (field("topic")) parts.push(`"topic":${JSON.stringify(field("topic"))}`);
  if (field("correlation")) parts.push(`"correlation_id":${JSON.stringify(field("correlation"))}`);
  // As it was written: reading and writing it again would round large numbers.
  parts.push(`"payload":${payload}`);
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await ask("/api/v1/events", { method: "POST", headers, body: `{${parts.join()}}` });
    say(answer.ok ? `Published as ${answer.body.event_id}` : refusal(answer));
  } catch (error) {
    say(`It may not have arrived: ${error.message}`);
  }
}

/** Looks at the connections while somebody looks at them. */
async function refresh() {
  if (selected() !== "connections" || document.hidden) return;
  try {
    const answer = await ask("/api/v1/connections");
    if (answer.ok) return list(answer.body);
    $("connections-rows").replaceChildren();
    const need = [401, 403].includes(answer.status) ? " A token with the right `admin` is needed." : "";
    $("connections-result").textContent = refusal(answer) + need;
  } catch (error) {
    $("connections-result").textContent = unreachable(error);
  }
}

function list({ count, connections }) {
  const more = count > ROWS ? ` The first ${ROWS} are shown.` : "";
  const text = `${count === 1 ? "1 connection." : `${count} connections.`}${more}`;
  if ($("connections-result").textContent !== text) $("connections-result").textContent = text;
  // A button that has the focus keeps it, or hands it to the one in its place.
  const buttons = () => [...$("connections-rows").querySelectorAll("button")];
  const at = buttons().indexOf(document.activeElement);
  const focused = document.activeElement?.dataset.close;
  $("connections-rows").replaceChildren(...connections.slice(0, ROWS).map(connection));
  if (at < 0) return;
  const same = buttons().find((button) => button.dataset.close === focused);
  (same ?? buttons()[Math.min(at, buttons().length - 1)])?.focus();
}

function connection({ id, remote_addr, connected_since, user_agent, filters, lag_events, bytes_sent }) {
  const wants = [filters.types, filters.topics]
    .map((list) => list && (list.join(", ") || "nothing"))
    .filter(Boolean)
    .join(" on ");
  const close = make("button", { type: "button", className: "small", data: { close: id } }, "Close");
  close.setAttribute("aria-label", `Close connection ${id}`);
  close.addEventListener("click", async () => {
    try {
      const answer = await ask(`/api/v1/connections/${id}`, { method: "DELETE" });
      if (answer.ok) refresh();
      else $("connections-result").textContent = refusal(answer);
    } catch (error) {
      $("connections-result").textContent = unreachable(error);
    }
  });
  const port = remote_addr.lastIndexOf(":");
  const parts = [remote_addr.slice(0, port), make("wbr"), remote_addr.slice(port)];
  const address = make("td", { className: "address", title: user_agent ?? "" }, ...parts);
  const cells = [clock(connected_since).slice(0, 8), null, lag_events, bytes(bytes_sent)].map((value) =>
    value === null ? make("td", { className: "wants" }, wants || "everything") : make("td", {}, String(value)),
  );
  return make("tr", {}, make("td", {}, id), address, ...cells, make("td", {}, close));
}

function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1024 ** 2) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 ** 2).toFixed(1)} MiB`;
}
