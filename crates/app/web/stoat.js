/**
 * The browser client of stoat: one socket for a page, or all tabs, that comes back and misses nothing.
 *
 *     import { connect } from "/stoat.js";
 *     connect().onEvent("scan_completed", (event) => console.log(event.payload));
 *
 * `stoat.d.ts` has the types, `README.md` says the rest.
 */

import { filterOf, matches, settingsOf, tokenOf } from "./stoat/options.js";
import { address, isForeign, newest, openSocket, openStream, probe } from "./stoat/transport.js";

/** The first wait before a reconnect is random below this; each further one below twice as much. */
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
const LOOK_EVERY = 5_000;
/** A connection that lived so long, or brought something, was a good one. */
const GOOD_AFTER = 5_000;
/** So many WebSockets in a row that do not open, although the server answers, and it is SSE. */
const FAILURES_BEFORE_SSE = 2;

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
  /** The tabs that this one shares a connection with, where it does. */
  #tabs = null;
  #listeners = new AbortController();

  constructor(settings) {
    this.#settings = settings;
    const stored = settings.storage?.getItem(settings.storageKey) ?? null;
    this.lastEventId = settings.lastEventId ?? stored;
    links.push(this);
    const { signal } = this.#listeners;
    const on = (target, name, what) => target.addEventListener(name, what, { signal });
    on(window, "pagehide", () => this.#pause());
    on(window, "pageshow", () => this.#unpause());
    on(window, "online", () => this.#wake(0));
    // Others must not wait for a tab that stands still.
    on(document, "freeze", () => settings.tabs && this.#pause());
    on(document, "resume", () => (this.#unpause(), this.#wake(0)));
    on(document, "visibilitychange", () => {
      if (document.visibilityState === "visible") this.#wake(this.#settings.quiet / 3);
    });
    queueMicrotask(() => this.#clients.size > 0 && this.#begin());
  }

  serves(settings) {
    const mine = this.#settings;
    const keys = ["token", "transport", "storageKey", "lastEventId", "share", "tabs", "group"];
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
    this.#leaveTabs();
    this.#drop();
    this.state = "closed";
  }

  /** Tells the server, once for all changes of this moment. */
  filtersChanged() {
    queueMicrotask(() => {
      const wanted = this.#filters();
      if (JSON.stringify(wanted) === this.#sent) return;
      // Those who want something else are other tabs.
      if (this.#tabs) return this.#begin();
      if (this.state !== "open") return;
      if (this.carrier === "sse") return this.#open();
      this.#sent = JSON.stringify(wanted);
      this.#transport.send(JSON.stringify({ action: "subscribe", ...wanted }));
    });
  }

  reconnect() {
    if (this.state === "closed" || this.state === "paused") return;
    if (this.#follows) return this.#tabs.reconnect();
    this.#attempts = 0;
    if (this.#settings.tabs && !this.#tabs) this.#begin();
    else this.#open();
  }

  /** For the tabs alone, as what follows: this one has the connection now. */
  lead() {
    this.#open();
  }

  /** It needs a connection of its own. */
  part() {
    this.#open();
  }

  /** It needs none any more. */
  meet() {
    this.#follow();
  }

  /** They cannot be had here. */
  alone() {
    this.#leaveTabs();
    this.#open();
  }

  /** The leader is there. */
  alive() {
    this.#lastSeen = Date.now();
  }

  /** What the leader's connection does, this one does. */
  mirror(change) {
    this.#watch();
    this.carrier = change.transport ?? this.carrier;
    this.#become(change.state, change);
  }

  received(text) {
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
    this.#tabs?.pass(event, text);
  }

  get #follows() {
    return this.#tabs?.role === "follower";
  }

  /** What all clients want together. */
  #filters() {
    const union = (key) => {
      const lists = [...this.#clients].map((client) => client.filter[key]);
      return lists.includes(null) ? null : [...new Set(lists.flat())];
    };
    return { types: union("types"), topics: union("topics") };
  }

  /** Connects, where that is wished and can be, as one of the tabs that share a connection. */
  async #begin() {
    this.#leaveTabs();
    const { tabs, base, token, transport, group, lastEventId } = this.#settings;
    if (!tabs) return this.#open();
    this.#drop();
    const turn = this.#turn;
    const filters = this.#filters();
    this.#sent = JSON.stringify(filters);
    this.#become("connecting", { attempt: 0 });
    const lists = [filters.types, filters.topics].map((list) => list && [...list].sort());
    // Functions cannot be compared; that is what a group is for.
    const asked = typeof token === "function" ? ["function"] : token;
    const beginsThere = lastEventId !== null && lastEventId === this.lastEventId;
    let joined = null;
    try {
      const { join } = await import("./stoat/tabs.js");
      joined = await join([base.href, asked, transport, group, lists], beginsThere, this);
    } catch {
      // A page that is not secure, or may keep nothing, has no locks: it has its own connection.
    }
    if (turn !== this.#turn) return joined?.leave();
    this.#tabs = joined;
    if (JSON.stringify(this.#filters()) !== this.#sent) return this.#begin();
    this.#open();
  }

  #leaveTabs() {
    this.#tabs?.leave();
    this.#tabs = null;
  }

  /** What comes is what the leader hands on. */
  #follow() {
    this.#drop();
    this.#timers.open = setTimeout(() => this.#silent(), this.#settings.pongWait);
    const ping = () => (this.#tabs.hello(), true);
    this.#transport = { send: () => {}, ping, close: () => {} };
    this.#tabs.follow();
  }

  async #open() {
    if (this.#follows) {
      this.#become("connecting", { attempt: this.#attempts });
      return this.#follow();
    }
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
    if (position !== null) this.#tabs?.note(position);
    const giveUp = transport === "auto" && this.#failedSockets >= FAILURES_BEFORE_SSE;
    this.carrier = transport === "sse" || giveUp ? "sse" : "websocket";
    // A request on a connection that is dead without a word would wait for ever.
    this.#timers.open = setTimeout(() => this.#silent(), this.#settings.pongWait);
    const ours = (what) => (argument) => turn === this.#turn && what(argument);
    const begin = this.carrier === "sse" ? openStream : openSocket;
    this.#transport = begin(address(base, position, filters), token, {
      opened: ours(() => this.#opened()),
      alive: ours(() => this.alive()),
      text: ours((text) => this.received(text)),
      ended: ours((end) => this.#ended(end, token)),
    });
  }

  #opened() {
    this.#openedAt = Date.now();
    if (this.carrier === "websocket") this.#failedSockets = 0;
    this.#watch();
    this.#become("open", { transport: this.carrier });
    this.filtersChanged();
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

  #watch() {
    this.#lastSeen = this.#lastLook = Date.now();
    clearTimeout(this.#timers.open);
    clearInterval(this.#timers.look);
    this.#timers.look = setInterval(() => this.#look(), LOOK_EVERY);
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
    const isQuiet = Date.now() - this.#lastSeen >= quiet;
    if (this.#follows || this.state === "open") isQuiet && this.#doubt();
    else if (this.state === "waiting" && !this.#told) this.#open();
  }

  #doubt() {
    if (!this.#transport || this.#timers.pong) return;
    const asked = Date.now();
    // Without a way to ask, silence has to be enough.
    const patience = this.#transport.ping() ? this.#settings.pongWait : 0;
    this.#timers.pong = setTimeout(() => {
      this.#timers.pong = undefined;
      if (patience > 0 && this.#lastSeen >= asked) return;
      if (patience === 0 && Date.now() - this.#lastSeen <= this.#settings.quiet) return;
      this.#silent(0);
    }, patience);
  }

  #silent(delay = null) {
    this.#drop();
    this.#tabs?.usurp();
    this.#wait(delay, { reason: "silent" });
  }

  /** A page in the back/forward cache must have no connection; one that goes says so. */
  #pause() {
    if (this.state === "closed" || (this.state === "refused" && !this.#tabs)) return;
    this.#leaveTabs();
    this.#drop();
    this.#become("paused", {});
  }

  #unpause() {
    if (this.state === "paused") this.#begin();
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
    const same = state === this.state && (state === "connecting" || state === "open");
    this.state = state;
    if (same) return;
    this.#tabs?.tell({ ...change, state });
    for (const client of [...this.#clients]) client.tell({ ...change, state });
  }
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
