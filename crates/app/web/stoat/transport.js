/** What carries events to a page: WebSockets, Server-Sent Events, and questions over HTTP. */

/** What a subprotocol may be made of; other tokens travel in the query. */
const SUBPROTOCOL = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** How long an answer over HTTP may take. */
const ANSWER_WAIT = 10_000;

/** A transport over a WebSocket. */
export function openSocket({ socket: url }, token, on) {
  const fits = token !== null && SUBPROTOCOL.test(token);
  if (token !== null && !fits) url.searchParams.set("token", token);
  const protocols = fits ? ["stoat.v1", `bearer.${token}`] : ["stoat.v1"];
  let socket;
  try {
    socket = new WebSocket(url, protocols);
  } catch (error) {
    // An address that the page may not use.
    queueMicrotask(() => on.ended({ error }));
    return { send: () => {}, ping: () => true, close: () => {} };
  }
  socket.onopen = () => on.opened();
  socket.onmessage = ({ data }) => on.text(data);
  socket.onclose = ({ code, reason }) => on.ended({ code, reason });
  const send = (text) => socket.readyState === WebSocket.OPEN && socket.send(text);
  return {
    send,
    ping: () => (send('{"action":"ping"}'), true),
    close: () => socket.close(1000),
  };
}

/**
 * A transport over Server-Sent Events. With `fetch`, since `EventSource` sends no token in a
 * header, and does not say why it was refused.
 */
export function openStream({ stream: url }, token, on) {
  const abort = new AbortController();
  // A header of one's own would need a preflight.
  if (token !== null && isForeign(url)) url.searchParams.set("token", token);
  const headers = isForeign(url) ? {} : authorization(token);
  const read = async () => {
    const response = await fetch(url, { headers, cache: "no-store", signal: abort.signal });
    if (!response.ok) {
      // All that were refused are told the same: that is the least, not the time.
      const after = Number(response.headers.get("Retry-After"));
      return { status: response.status, ...(after > 0 && { after: after * 1000 }) };
    }
    on.opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let [rest, retry] = ["", undefined];
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { retry, reason: "the stream has ended" };
      on.alive();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const line of blocks.flatMap((block) => block.split("\n"))) {
        if (line.startsWith("data: ")) on.text(line.slice(6));
        if (/^retry: \d+$/.test(line)) retry = Number(line.slice(7));
      }
    }
  };
  read().then(on.ended, (error) => on.ended({ error }));
  return { send: () => {}, ping: () => false, close: () => abort.abort() };
}

/** The addresses of both transports, and of one event of the history. */
export function address(base, lastEventId, { types, topics }) {
  const [socket, stream, history] = ["ws", "sse", "api/v1/events"].map((path) => {
    const url = new URL(path, base);
    if (lastEventId) url.searchParams.set("last_event_id", lastEventId);
    if (types) url.searchParams.set("types", types.join());
    if (topics) url.searchParams.set("topics", topics.join());
    return url;
  });
  socket.protocol = base.protocol === "https:" ? "wss:" : "ws:";
  history.searchParams.delete("last_event_id");
  history.searchParams.set("limit", "1");
  return { socket, stream, history };
}

/** The position of the newest event, as each answer has it; it is `earliest` in an empty log. */
export async function newest(base) {
  const options = { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(ANSWER_WAIT) };
  const answer = await fetch(new URL("stoat.js", base), options);
  return answer.headers.get("X-Stoat-Cursor") ?? (answer.ok ? "earliest" : null);
}

/**
 * The status with which the server answers a small question with the same filters; null where it
 * does not.
 */
export async function probe({ history: url }, token) {
  if (isForeign(url)) return null;
  try {
    const signal = AbortSignal.timeout(ANSWER_WAIT);
    const response = await fetch(url, { headers: authorization(token), cache: "no-store", signal });
    response.body?.cancel();
    return response.status;
  } catch {
    return null;
  }
}

export function isForeign(url) {
  return url.origin !== location.origin;
}

function authorization(token) {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}
