/**
 * Tabs of one origin that want the same share one connection: the leader has it, and hands on what
 * comes.
 *
 * Who holds a Web Lock leads, so the browser sees to it that one does, whatever becomes of tabs. A
 * BroadcastChannel carries what the leader says. With each event goes the position before it: a tab
 * knows from it what it has had already, after a change of leaders, and what it lacks. For that it
 * has a connection of its own until it meets the others again.
 */

/** Tabs of other versions, which may say other things, are others. */
const PREFIX = "stoat-tabs-1:";
/** So many positions are known as passed; who is further apart needs a connection for a moment. */
const REMEMBERED = 1_000;

/**
 * Joins the tabs that want the same as `link`, which stands at its `lastEventId`. A link that is to
 * begin there, whatever the others do, does not lead before it has met them or is up to date.
 */
export async function join(wants, beginsThere, link) {
  const text = new TextEncoder().encode(JSON.stringify(wants));
  // The name can be seen in the browser's tools, and a token must not.
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  const name = PREFIX + Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const { held } = await navigator.locks.query();
  const isLed = held.some((lock) => lock.name === name);
  return new Tabs(name, beginsThere, isLed, link);
}

/** One tab among those that share a connection. */
class Tabs {
  /** `leader`, `follower`, `apart` (on a connection of its own), or `gone`. */
  role;
  #name;
  #channel;
  #link;
  #position = null;
  /** Positions that were passed, oldest first. */
  #seen = new Set();
  /** What the leader said while this tab was apart. */
  #heard = [];
  /** Aborting it takes this tab out of the queue for the lock, or gives the lock back. */
  #lock = null;
  /** The newest change of this tab's state, and as text that of the leader's. */
  #change = null;
  #told = null;

  constructor(name, beginsThere, isLed, link) {
    this.#name = name;
    this.#link = link;
    this.role = beginsThere && !isLed ? "apart" : "follower";
    if (link.lastEventId !== null) this.note(link.lastEventId);
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    if (!beginsThere) this.#queue();
  }

  /** Asks the leader for its state and position. */
  hello() {
    this.#channel.postMessage({ hello: true });
  }

  /** Has everything from the leader from now on. */
  follow() {
    this.#told = null;
    this.hello();
  }

  /** Asks the leader to connect anew. */
  reconnect() {
    this.#channel.postMessage({ reconnect: true });
  }

  /** The leader says nothing any more: its tab hangs. It finds out when it wakes up. */
  usurp() {
    if (this.role === "follower") this.#queue(true);
  }

  /** Tells the state of this tab's own connection. */
  tell({ error, ...change }) {
    // What cannot be cloned cannot be sent.
    this.#change = error === undefined ? change : { ...change, error: String(error) };
    if (this.role === "leader") this.#announce();
  }

  /** Hands on what came on this tab's own connection. */
  pass({ type, event_id: at }, text) {
    if (this.role === "follower" || this.role === "gone" || !at) return;
    const after = this.#position;
    const isBeat = type === "heartbeat";
    this.note(at);
    if (this.role === "leader") {
      this.#channel.postMessage({ at, after, text, isBeat });
      return;
    }
    // Up to date, so it can lead those who begin with what is new.
    if (isBeat) this.#queue();
    const met = this.#heard.findLastIndex((message) => message.at === at && isLive(message));
    if (met >= 0) this.#meet(met);
  }

  /** Is at this position now. */
  note(position) {
    this.#position = position;
    this.#seen.add(position);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
  }

  leave() {
    this.role = "gone";
    this.#lock?.abort();
    this.#channel.close();
  }

  #queue(steal = false) {
    if (this.#lock !== null && !steal) return;
    this.#lock?.abort();
    const lock = new AbortController();
    this.#lock = lock;
    const hold = () =>
      new Promise((release) => {
        if (lock.signal.aborted) return release();
        lock.signal.addEventListener("abort", release);
        this.#lead();
      });
    const options = steal ? { steal } : { signal: lock.signal };
    const request = navigator.locks.request(this.#name, options, hold);
    request.catch(() => lock.signal.aborted || this.#lost());
  }

  #lead() {
    const isConnected = this.role === "apart";
    this.role = "leader";
    this.#heard = [];
    if (isConnected) this.#announce();
    else this.#link.lead();
  }

  /** The lock was taken away, or cannot be had in this page. */
  #lost() {
    if (this.role !== "leader") return this.#link.alone();
    this.role = "apart";
    this.#lock = null;
    this.#queue();
    this.hello();
  }

  #announce() {
    this.#channel.postMessage({ at: this.#position, change: this.#change });
  }

  #receive(message) {
    const isOfLeader = "at" in message;
    if (this.role === "leader") {
      if (message.hello) this.#announce();
      if (message.reconnect) this.#link.reconnect();
    } else if (isOfLeader && this.role === "apart") {
      this.#listen(message);
    } else if (isOfLeader) {
      this.#link.alive();
      if (message.change) this.#greet(message);
      else this.#take(message);
    }
  }

  #greet(message) {
    const { at, change } = message;
    if (at !== null) {
      if (this.#position === null) {
        this.note(at);
        this.#link.lastEventId = at;
      } else if (!this.#seen.has(at)) {
        return this.#part(message);
      }
      this.#queue();
    }
    const told = JSON.stringify(change);
    if (told === this.#told) return;
    // Somebody who comes anew is a reason to try again.
    if (this.#told === null && change.state === "refused") this.reconnect();
    this.#told = told;
    this.#link.mirror(change);
  }

  #take(message) {
    const { at, after, text, isBeat } = message;
    // It begins with the leader's answer.
    if (this.#position === null) return;
    const isHad = this.#seen.has(at);
    if (isHad && !(isBeat && after === this.#position)) return;
    if (!isHad && !this.#seen.has(after)) return this.#part(message);
    this.note(at);
    this.#link.received(text);
  }

  /** Something is missing between this tab and the leader. */
  #part(message) {
    this.role = "apart";
    this.#heard = [message];
    this.#link.part();
  }

  #listen(message) {
    this.#heard.push(message);
    if (this.#heard.length > REMEMBERED) this.#heard.shift();
    if (this.#seen.has(message.at) && isLive(message)) this.#meet(this.#heard.length - 1);
  }

  /** This tab has had what the leader said up to here: the rest is enough. */
  #meet(index) {
    const rest = this.#heard.slice(index + 1);
    this.#heard = [];
    this.role = "follower";
    this.#queue();
    this.#link.meet();
    rest.forEach((message) => this.#receive(message));
  }
}

/** Whether a leader that says this has a connection. */
function isLive({ change }) {
  return !change || change.state === "open";
}
