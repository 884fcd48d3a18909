/**
 * The browser client of stoat: one socket for a page, that comes back and misses nothing.
 *
 *     import { connect } from "/stoat.js";
 *     connect().onEvent("scan_completed", (event) => console.log(event.payload));
 *
 * `stoat.d.ts` has the types, `README.md` says the rest.
 */

/** The first wait before a reconnect is random below this; each further one below twice as much. */
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
/** Longer silence than this is looked into. The server sends something every 30 s. */
const QUIET = 75_000;
/** How long the answer to a ping may take, and how long opening a connection. */
const PONG_WAIT = 10_000;
const LOOK_EVERY = 5_000;
/** A connection that lived so long, or brought something, was a good one. */
const GOOD_AFTER = 5_000;
/** So many WebSockets in a row that do not open, although the server answers, and it is SSE. */
const FAILURES_BEFORE_SSE = 2;
/** What a subprotocol may be made of; other tokens travel in the query. */
const SUBPROTOCOL = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** The links of this page, each shared by the clients that want the same of it. */
const links = [];

/** Connects, or joins the connection that this page has already. */
export function connect(options = {}) {
  return new Client(options);
}

/** What one part of a page sees of the stream. */
class Client {
  #link;
  #filter;
  #handlers = { event: new Map(), gap: new Set(), state: new Set() };

  constructor(options) {
    this.#filter = filterOf(options);
    const settings = settingsOf(options);
    // Who asks for a position of its own needs a stream of its own.
    const joins = settings.share && settings.lastEventId === null;
    this.#link = (joins && links.find((link) => link.serves(settings))) || new Link(settings);
    this.#link.join(this);
  }

  /** The state of the connection: see `State` in the types. */
  get state() {
    return this.#link.has(this) ? this.#link.state : "closed";
  }

  /** What carries the events: `websocket`, `sse`, or null while nothing does. */
  get transport() {
    return this.state === "open" ? this.#link.carrier : null;
  }

  /** The position to resume from. */
  get lastEventId() {
    return this.#link.lastEventId;
  }

  get filter() {
    return this.#filter;
  }

  /** Calls `handler` with each event of this type, or with `*` each that was published. */
  onEvent(type, handler) {
    const { event } = this.#handlers;
    if (!event.has(type)) event.set(type, new Set());
    event.get(type).add(handler);
    return () => event.get(type)?.delete(handler);
  }

  /** Calls `handler` where events cannot be had any more. */
  onGap(handler) {
    this.#handlers.gap.add(handler);
    return () => this.#handlers.gap.delete(handler);
  }

  /** Calls `handler` with each change of the connection's state. */
  onState(handler) {
    this.#handlers.state.add(handler);
    return () => this.#handlers.state.delete(handler);
  }

  /** Replaces the filters for what follows. */
  subscribe(options = {}) {
    this.#filter = filterOf(options);
    this.#link.filtersChanged();
  }

  /** Connects again now: a token is there, or somebody does not want to wait. */
  reconnect() {
    this.#link.reconnect();
  }

  /** Leaves; the connection ends with the last client. */
  close() {
    this.#link.leave(this);
  }

  /** For the link alone. */
  take(event) {
    const { event: byType, gap } = this.#handlers;
    if (event.type === "gap") call(gap, event);
    const isNotice = event.type === "gap" || event.type === "heartbeat";
    if (!isNotice && !matches(this.#filter, event)) return;
    call(byType.get(event.type), event);
    if (!isNotice) call(byType.get("*"), event);
  }

  /** For the link alone. */
  tell(change) {
    call(this.#handlers.state, change);
  }
}

/** One connection to the server, from the first attempt to the last. */
class Link {
  state = "waiting";
  carrier = null;
  lastEventId;
  #settings;
  #clients = new Set();
  /** Numbers the attempts: what belongs to an earlier one is not listened to. */
  #turn = 0;
  #transport = null;
  #attempts = 0;
  #failedSockets = 0;
  #openedAt = 0;
  #lastSeen = 0;
  #lastLook = 0;
  #sent = "";
  #told = false;
  #timers = {};
  #listeners = new AbortController();

  constructor(settings) {
    this.#settings = settings;
    const stored = settings.storage?.getItem(settings.storageKey) ?? null;
    this.lastEventId = settings.lastEventId ?? stored;
    links.push(this);
    const { signal } = this.#listeners;
    const on = (target, name, what) => target.addEventListener(name, what, { signal });
    on(window, "pagehide", () => this.#pause());
    on(window, "pageshow", () => this.state === "paused" && this.#open());
    on(window, "online", () => this.#wake(0));
    on(document, "resume", () => this.#wake(0));
    on(document, "visibilitychange", () => {
      if (document.visibilityState === "visible") this.#wake(this.#settings.quiet / 3);
    });
    queueMicrotask(() => this.#clients.size > 0 && this.#open());
  }

  serves(settings) {
    const mine = this.#settings;
    const keys = ["token", "transport", "storageKey", "lastEventId", "share"];
    const same = keys.every((key) => mine[key] === settings[key]);
    return same && mine.base.href === settings.base.href && this.state !== "refused";
  }

  has(client) {
    return this.#clients.has(client);
  }

  join(client) {
    this.#clients.add(client);
    this.filtersChanged();
  }

  leave(client) {
    if (!this.#clients.delete(client)) return;
    client.tell({ state: "closed" });
    if (this.#clients.size > 0) return this.filtersChanged();
    links.splice(links.indexOf(this), 1);
    this.#listeners.abort();
    this.#drop();
    this.state = "closed";
  }

  /** Tells the server, once for all changes of this moment. */
  filtersChanged() {
    queueMicrotask(() => {
      const wanted = this.#filters();
      if (this.state !== "open" || JSON.stringify(wanted) === this.#sent) return;
      if (this.carrier === "sse") return this.#open();
      this.#sent = JSON.stringify(wanted);
      this.#transport.send(JSON.stringify({ action: "subscribe", ...wanted }));
    });
  }

  reconnect() {
    if (this.state === "closed" || this.state === "paused") return;
    this.#attempts = 0;
    this.#open();
  }

  /** What all clients want together. */
  #filters() {
    const union = (key) => {
      const lists = [...this.#clients].map((client) => client.filter[key]);
      return lists.includes(null) ? null : [...new Set(lists.flat())];
    };
    return { types: union("types"), topics: union("topics") };
  }

  async #open() {
    this.#drop();
    const turn = this.#turn;
    const filters = this.#filters();
    this.#sent = JSON.stringify(filters);
    this.#become("connecting", { attempt: this.#attempts });
    const { base, transport } = this.#settings;
    let [token, position] = [null, this.lastEventId];
    try {
      // Without one, what is published while the first connection is lost would be missed.
      position ??= await newest(base);
      token = await tokenOf(this.#settings.token);
    } catch (error) {
      if (turn === this.#turn) this.#wait(null, { error });
      return;
    }
    if (turn !== this.#turn) return;
    this.lastEventId = position;
    const giveUp = transport === "auto" && this.#failedSockets >= FAILURES_BEFORE_SSE;
    this.carrier = transport === "sse" || giveUp ? "sse" : "websocket";
    // A request on a connection that is dead without a word would wait for ever.
    const late = () => (this.#drop(), this.#wait(null, { reason: "silent" }));
    this.#timers.open = setTimeout(late, this.#settings.pongWait);
    const ours = (what) => (argument) => turn === this.#turn && what(argument);
    const begin = this.carrier === "sse" ? openStream : openSocket;
    this.#transport = begin(address(base, position, filters), token, {
      opened: ours(() => this.#opened()),
      alive: ours(() => (this.#lastSeen = Date.now())),
      text: ours((text) => this.#received(text)),
      ended: ours((end) => this.#ended(end, token)),
    });
  }

  #opened() {
    this.#openedAt = this.#lastSeen = this.#lastLook = Date.now();
    if (this.carrier === "websocket") this.#failedSockets = 0;
    clearTimeout(this.#timers.open);
    this.#timers.look = setInterval(() => this.#look(), LOOK_EVERY);
    this.#become("open", { transport: this.carrier });
    this.filtersChanged();
  }

  #received(text) {
    this.#lastSeen = Date.now();
    const event = JSON.parse(text);
    // The answer to a ping has none.
    if (typeof event.type !== "string") return;
    this.#attempts = 0;
    if (event.event_id) {
      this.lastEventId = event.event_id;
      this.#settings.storage?.setItem(this.#settings.storageKey, event.event_id);
    }
    for (const client of [...this.#clients]) client.take(event);
  }

  /** What to do after the end of a transport depends on how it ended. */
  async #ended(end, token) {
    const opened = this.#openedAt > 0;
    if (opened && Date.now() - this.#openedAt > GOOD_AFTER) this.#attempts = 0;
    this.#drop();
    const turn = this.#turn;
    const { code, reason, status } = end;
    const told = code === 1001 && /^retry_ms=(\d+)$/.exec(reason ?? "");
    if (told) return this.#wait(Number(told[1]), end);
    if (end.retry !== undefined) return this.#wait(end.retry, end);
    const expired = code === 1008 && reason === "authorization ended";
    if (expired && typeof this.#settings.token === "function") return this.#wait(0, end);
    if (opened) return this.#wait(null, end);
    // A browser does not tell why a WebSocket was refused.
    this.#become("connecting", { attempt: this.#attempts });
    const answer = status ?? (await probe(this.#settings.base, token));
    if (turn !== this.#turn) return;
    if (answer === 401 || answer === 403) return this.#refused(answer);
    if (this.carrier === "sse") this.#failedSockets = 0;
    else if (answer !== null || isForeign(this.#settings.base)) this.#failedSockets += 1;
    this.#wait(null, { ...end, status: answer });
  }

  /** A fixed token will not become valid; a function may give another. */
  #refused(status) {
    if (typeof this.#settings.token === "function") return this.#wait(null, { status });
    this.#become("refused", { status });
  }

  /** Comes back after so many milliseconds, or where nobody said how many, after a random time. */
  #wait(told, why) {
    const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts);
    const delay = told ?? Math.random() * most;
    this.#told = told !== null;
    this.#attempts += 1;
    this.#timers.retry = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { ...why, delay });
  }

  /** Sees to it that a connection that is dead without a word does not stay. */
  #look() {
    const now = Date.now();
    // The timer was held still: the machine or the tab has slept.
    const slept = now - this.#lastLook > 3 * LOOK_EVERY;
    this.#lastLook = now;
    if (slept || now - this.#lastSeen > this.#settings.quiet) this.#doubt();
  }

  /** After something that a connection may not have outlived. */
  #wake(quiet) {
    if (this.state === "waiting" && !this.#told) this.#open();
    else if (this.state === "open" && Date.now() - this.#lastSeen >= quiet) this.#doubt();
  }

  #doubt() {
    if (this.state !== "open" || this.#timers.pong) return;
    const asked = Date.now();
    // Without a way to ask, silence has to be enough.
    const patience = this.#transport.ping() ? this.#settings.pongWait : 0;
    this.#timers.pong = setTimeout(() => {
      this.#timers.pong = undefined;
      if (patience > 0 && this.#lastSeen >= asked) return;
      if (patience === 0 && Date.now() - this.#lastSeen <= this.#settings.quiet) return;
      this.#drop();
      this.#wait(0, { reason: "silent" });
    }, patience);
  }

  /** A page in the back/forward cache must have no connection; one that goes says so. */
  #pause() {
    if (this.state === "closed" || this.state === "refused") return;
    this.#drop();
    this.#become("paused", {});
  }

  #drop() {
    this.#turn += 1;
    this.#openedAt = 0;
    clearInterval(this.#timers.look);
    for (const timer of ["open", "retry", "pong"]) clearTimeout(this.#timers[timer]);
    this.#timers = {};
    this.#transport?.close();
    this.#transport = null;
  }

  #become(state, change) {
    const same = state === this.state && state === "connecting";
    this.state = state;
    if (same) return;
    for (const client of [...this.#clients]) client.tell({ ...change, state });
  }
}

/** A transport over a WebSocket. */
function openSocket({ socket: url }, token, on) {
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
function openStream({ stream: url }, token, on) {
  const abort = new AbortController();
  // A header of one's own would need a preflight.
  if (token !== null && isForeign(url)) url.searchParams.set("token", token);
  const headers = isForeign(url) ? {} : authorization(token);
  const read = async () => {
    const response = await fetch(url, { headers, cache: "no-store", signal: abort.signal });
    if (!response.ok) {
      const after = Number(response.headers.get("Retry-After"));
      return { status: response.status, ...(after > 0 && { retry: after * 1000 }) };
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
        if (line.startsWith("retry: ")) retry = Number(line.slice(7));
      }
    }
  };
  read().then(on.ended, (error) => on.ended({ error }));
  return { send: () => {}, ping: () => false, close: () => abort.abort() };
}

/** The addresses of both transports. */
function address(base, lastEventId, { types, topics }) {
  const [socket, stream] = ["ws", "sse"].map((path) => {
    const url = new URL(path, base);
    if (lastEventId) url.searchParams.set("last_event_id", lastEventId);
    if (types) url.searchParams.set("types", types.join());
    if (topics) url.searchParams.set("topics", topics.join());
    return url;
  });
  socket.protocol = base.protocol === "https:" ? "wss:" : "ws:";
  return { socket, stream };
}

/** The position of the newest event, as each answer has it; it is `earliest` in an empty log. */
async function newest(base) {
  const options = { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(PONG_WAIT) };
  const answer = await fetch(new URL("stoat.js", base), options);
  return answer.headers.get("X-Stoat-Cursor") ?? (answer.ok ? "earliest" : null);
}

/** The status with which the server answers a small question; null where it does not. */
async function probe(base, token) {
  if (isForeign(base)) return null;
  try {
    const url = new URL("api/v1/events?types=&limit=1", base);
    const signal = AbortSignal.timeout(PONG_WAIT);
    const response = await fetch(url, { headers: authorization(token), cache: "no-store", signal });
    return response.status;
  } catch {
    return null;
  }
}

function isForeign(url) {
  return url.origin !== location.origin;
}

function authorization(token) {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

async function tokenOf(token) {
  return (typeof token === "function" ? await token() : token) || null;
}

function settingsOf(options) {
  const own = import.meta.url.startsWith("http") ? new URL("/", import.meta.url) : undefined;
  const base = new URL(options.url ?? own ?? "/", location.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  base.search = base.hash = "";
  const storage = options.resume === "session" ? sessionStorage : undefined;
  return {
    base,
    token: options.token ?? null,
    transport: options.transport ?? "auto",
    lastEventId: options.lastEventId ?? null,
    share: options.share ?? true,
    quiet: options.quiet ?? QUIET,
    pongWait: options.pongWait ?? PONG_WAIT,
    storage,
    storageKey: storage ? `stoat:${base.href}` : null,
  };
}

function filterOf({ types, topics }) {
  return { types: types ? [...types] : null, topics: topics ? [...topics] : null };
}

function matches({ types, topics }, { type, topic }) {
  const below = (pattern) => pattern.endsWith(".*") && topic?.startsWith(pattern.slice(0, -1));
  const reaches = (pattern) => pattern === "*" || pattern === topic || below(pattern);
  return (types === null || types.includes(type)) && (topics === null || topics.some(reaches));
}

/** One handler's fault is not another's. */
function call(handlers, argument) {
  for (const handler of [...(handlers ?? [])]) {
    try {
      handler(argument);
    } catch (error) {
      reportError(error);
    }
  }
}
