/** The inspector: connects, and hands what comes to the parts of the page. */

import { connect } from "/stoat.js";
import * as chart from "./chart.js";
import { $, setToken, span, token } from "./dom.js";
import * as events from "./events.js";
import * as panels from "./panels.js";
import * as tabs from "./tabs.js";
import * as trace from "./trace.js";

let client = null;
/** Whether the connection was open before. */
let wasOpen = false;

events.begin(trace.show);
trace.begin();
tabs.begin();
panels.begin();
chart.begin();
beginTokens();
start();

/** Connects with the token that there is now, from where the page is. */
function start() {
  const lastEventId = client?.lastEventId ?? null;
  client?.close();
  client = connect({ token: token(), lastEventId, share: false });
  client.onEvent("*", (event) => {
    chart.add(event);
    events.add(event);
    trace.add(event);
  });
  client.onGap((gap) => {
    events.add(gap);
    panels.log(`Events are missing: ${gap.payload.reason}.`);
  });
  const mine = client;
  client.onState((change) => mine === client && changed(change));
}

function changed({ state, transport, delay, code, reason, status, error }) {
  const carriers = { websocket: "WebSocket", sse: "Server-Sent Events" };
  const texts = {
    connecting: "connecting",
    open: `open · ${carriers[transport]}`,
    waiting: `lost · again in ${span(delay ?? 0)}`,
    paused: "paused",
    refused: status === 403 ? "refused · the token lacks a right" : "refused · a token is needed",
    closed: "closed",
  };
  $("state").dataset.state = state;
  $("state").textContent = texts[state];
  if (state === "connecting") return;
  const resumed = state === "open" && wasOpen && `resumed after ${client.lastEventId}`;
  wasOpen ||= state === "open";
  const code_ = code === undefined ? null : `code ${code}`;
  const why = [resumed, code_, reason, status && `status ${status}`, error && String(error)].filter(Boolean);
  panels.log(why.length ? `${texts[state]} (${why.join(", ")})` : texts[state]);
  if (state === "refused") askForToken();
}

function beginTokens() {
  const dialog = $("token-dialog");
  const use = (value) => {
    setToken(value);
    dialog.close();
    start();
  };
  $("token-button").addEventListener("click", askForToken);
  $("token-cancel").addEventListener("click", () => dialog.close());
  $("token-forget").addEventListener("click", () => use(null));
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    use($("token").value.trim());
  });
}

function askForToken() {
  $("token").value = token() ?? "";
  if (!$("token-dialog").open) $("token-dialog").showModal();
}
