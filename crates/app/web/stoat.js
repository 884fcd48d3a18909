/**
 * The browser client of stoat: one socket for a page, or all tabs, that comes back and misses nothing.
 *
 *     import { connect } from "/stoat.js";
 *     connect().onEvent("scan_completed", (event) => console.log(event.payload));
 *
 * `stoat.d.ts` has the types, `README.md` says the rest.
 */

import { Moment } from "./stoat/moment.js";
import { filterOf, matches, settingsOf, tokenOf } from "./stoat/options.js";
import { address, isForeign, newest, openSocket, openStream, probe } from "./stoat/transport.js";

/** The first wait before a reconnect is random below this; each further one below twice as much. */
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
/** Who says when to come back is heeded up to here. */
const LONGEST_TOLD = 600_000;
const LOOK_EVERY = 5_000;
/** A connection that lived so long was a good one; to bring something is not enough. */
const GOOD_AFTER = 5_000;
/** So long may a token take, and what else an attempt begins with. */
const TOKEN_WAIT = 60_000;
/** So many WebSockets in a row that do not open, although the server answers, and it is SSE. */
const FAILURES_BEFORE_SSE = 2;
/** What is asked for is malformed or too long: it will be the next time, too. */
const HOPELESS = [400, 414, 422, 431];
const TOKEN_REFUSED = [401, 403];

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
    if (this.#link.has(this)) this.#link.reconnect();
  }

  /** Leaves; the connection ends with the last client. */
  close() {
    this.#link.leave(this);
    const { event, gap, state } = this.#handlers;
    for (const handlers of [...event.values(), gap, state]) handlers.clear();
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
  #settings;
  #position = null;
  #clients = new Set();
  /** Numbers the attempts: what belongs to an earlier one is not listened to. */
  #turn = 0;
  #transport = null;
  #attempts = 0;
  #failedSockets = 0;
  /** Since when there is a connection, or null. */
  #openedAt = null;
  #lastSeen = new Moment();
  #lastLook = new Moment();
  #sent = "";
  #told = false;
  #timers = {};
  /** The tabs that this one shares a connection with, where it does. */
  #tabs = null;
  #listeners = new AbortController();

  constructor(settings) {
    this.#settings = settings;
    this.lastEventId = settings.lastEventId ?? settings.position.read();
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

  get lastEventId() {
    return this.#position;
  }
  set lastEventId(position) {
    this.#position = position;
    if (position !== null) this.#settings.position.write(position);
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
      // It may have been what was asked for.
      if (this.state === "refused") return this.#open();
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
    this.#lastSeen = new Moment();
  }

  /** What the leader's connection does, this one does. */
  mirror(change) {
    this.#watch();
    this.#openedAt = change.state === "open" ? new Moment() : null;
    this.carrier = change.transport ?? this.carrier;
    this.#become(change.state, change);
  }

  received(text) {
    this.#lastSeen = new Moment();
    const event = JSON.parse(text);
    // The answer to a ping has none.
    if (typeof event.type !== "string") return;
    if (event.event_id) this.lastEventId = event.event_id;
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
    this.#limitStart();
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
    this.#limitStart();
    this.#become("connecting", { attempt: this.#attempts });
    const { base, transport } = this.#settings;
    let [token, position] = [null, this.lastEventId];
    try {
      // Without one, what is published while the first connection is lost would be missed.
      position ??= await newest(base);
      token = await tokenOf(this.#settings.token);
    } catch (error) {
      if (turn === this.#turn) this.#silent(null, { error });
      return;
    }
    if (turn !== this.#turn) return;
    this.lastEventId = position;
    if (position !== null) this.#tabs?.note(position);
    const giveUp = transport === "auto" && this.#failedSockets >= FAILURES_BEFORE_SSE;
    this.carrier = transport === "sse" || giveUp ? "sse" : "websocket";
    clearTimeout(this.#timers.open);
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

  /** What comes before the connection, such as the page's own way to a token, may never end. */
  #limitStart() {
    const error = new Error("no connection could be begun in time");
    this.#timers.open = setTimeout(() => this.#silent(null, { error }), TOKEN_WAIT);
  }

  #opened() {
    this.#openedAt = new Moment();
    if (this.carrier === "websocket") this.#failedSockets = 0;
    this.#watch();
    this.#become("open", { transport: this.carrier });
    this.filtersChanged();
  }

  /** What to do after the end of a transport depends on how it ended. */
  async #ended(end, token) {
    const opened = this.#openedAt !== null;
    const wasGood = opened && this.#openedAt.age > GOOD_AFTER;
    this.#drop();
    const turn = this.#turn;
    const { code, reason, status } = end;
    const isAsked = typeof this.#settings.token === "function";
    const told = code === 1001 && /^retry_ms=(\d+)$/.exec(reason ?? "");
    if (told) return this.#wait(Number(told[1]), end);
    if (end.retry !== undefined) return this.#wait(end.retry, end);
    const isExpired = code === 1008 && reason === "authorization ended";
    // One that ends at once would be asked for without a pause.
    if (opened) return this.#wait(isExpired && isAsked && wasGood ? 0 : null, end);
    // A browser does not tell why a WebSocket was refused.
    this.#become("connecting", { attempt: this.#attempts });
    const answer = status ?? (await probe(address(this.#settings.base, null, this.#filters()), token));
    if (turn !== this.#turn) return;
    const isRefused = TOKEN_REFUSED.includes(answer);
    // A function may give another token.
    if (isRefused && isAsked) return this.#wait(null, { status: answer });
    if (isRefused || HOPELESS.includes(answer)) return this.#become("refused", { status: answer });
    if (this.carrier === "sse") this.#failedSockets = 0;
    else if (answer !== null || isForeign(this.#settings.base)) this.#failedSockets += 1;
    this.#wait(null, { ...end, status: answer });
  }

  /** Comes back after so many milliseconds, or where nobody said how many, after a random time. */
  #wait(told, { after = 0, ...why }) {
    const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts);
    const random = after + Math.random() * most;
    const delay = Math.min(told ?? random, LONGEST_TOLD);
    this.#told = told !== null || after > 0;
    this.#attempts += 1;
    this.#timers.retry = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { ...why, delay });
  }

  #watch() {
    this.#lastSeen = this.#lastLook = new Moment();
    clearTimeout(this.#timers.open);
    clearInterval(this.#timers.look);
    this.#timers.look = setInterval(() => this.#look(), LOOK_EVERY);
  }

  /** Sees to it that a connection that is dead without a word does not stay. */
  #look() {
    // The timer was held still: the machine or the tab has slept.
    const slept = this.#lastLook.age > 3 * LOOK_EVERY;
    this.#lastLook = new Moment();
    if (slept || this.#lastSeen.age > this.#settings.quiet) this.#doubt();
  }

  /** After something that a connection may not have outlived. */
  #wake(quiet) {
    const isQuiet = this.#lastSeen.age >= quiet;
    if (this.#follows || this.state === "open") isQuiet && this.#doubt();
    else if (this.state === "waiting" && !this.#told) this.#open();
  }

  #doubt() {
    if (!this.#transport || this.#timers.pong) return;
    const before = this.#lastSeen;
    // Without a way to ask, silence has to be enough.
    const patience = this.#transport.ping() ? this.#settings.pongWait : 0;
    this.#timers.pong = setTimeout(() => {
      this.#timers.pong = undefined;
      if (patience > 0 && this.#lastSeen !== before) return;
      if (patience === 0 && this.#lastSeen.age <= this.#settings.quiet) return;
      this.#silent(0);
    }, patience);
  }

  #silent(delay = null, why = { reason: "silent" }) {
    this.#drop();
    this.#tabs?.usurp();
    this.#wait(delay, why);
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
    if (this.#openedAt?.age > GOOD_AFTER) this.#attempts = 0;
    this.#openedAt = null;
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
    // Another one may have taken it away.
    if (!handlers.has(handler)) continue;
    try {
      handler(argument);
    } catch (error) {
      reportError(error);
    }
  }
}
