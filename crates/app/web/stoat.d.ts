/**
 * The types of the browser client of stoat.
 *
 * To have the payloads of your own events, add their names:
 *
 *     declare module "stoat-client" {
 *       interface EventPayloads { "invoice.paid": { number: number } }
 *     }
 */

/** What events of each type carry. */
export interface EventPayloads {
  heartbeat: Record<string, never>;
  gap: GapPayload;
  health_status: HealthPayload;
}

/** Why events are missing, and what is there. */
export interface GapPayload {
  reason: "evicted" | "unknown_id" | "lagged";
  requested: string | null;
  oldest: string | null;
  newest: string | null;
}

export interface HealthPayload {
  status: "ok" | "degraded" | "draining";
  checks: Record<string, string>;
}

/** One event, as the server sends it. */
export interface StoatEvent<Name extends string = string, Payload = Record<string, unknown>> {
  type: Name;
  payload: Payload;
  correlation_id: string | null;
  /** RFC 3339, UTC, six fractional digits. */
  timestamp: string;
  /** Opaque; the position to resume from. */
  event_id: string;
  topic?: string;
}

/** The event of a name: with its payload where that is known. */
export type EventOf<Name extends string> = Name extends keyof EventPayloads
  ? StoatEvent<Name, EventPayloads[Name]>
  : StoatEvent<Name>;

/**
 * - `connecting`: an attempt is under way.
 * - `open`: events come.
 * - `waiting`: until the next attempt.
 * - `paused`: the page is in the back/forward cache; of one that shares with other tabs, or frozen.
 * - `refused`: the token is missing or not valid (401) or lacks the right `subscribe` (403), or what
 *   is asked for is malformed (400, 422) or too long (414, 431). It stays so until `reconnect` is
 *   called, or `subscribe` asks for something else.
 * - `closed`: by `close`.
 */
export type State = "connecting" | "open" | "waiting" | "paused" | "refused" | "closed";

export type Transport = "websocket" | "sse";

/** A change of state, with what is known of its cause. */
export interface StateChange {
  state: State;
  /** Of `open`. */
  transport?: Transport;
  /** Of `connecting`: how many attempts there were since a connection lasted. */
  attempt?: number;
  /** Of `waiting`: milliseconds until the next attempt. */
  delay?: number;
  /** The code of the WebSocket's Close, and its reason. */
  code?: number;
  reason?: string;
  /** The HTTP status of a refusal. */
  status?: number | null;
  error?: unknown;
}

/** What to see; null or absent is everything, an empty list nothing. Both lists must match. */
export interface Filter {
  types?: readonly string[] | null;
  /** `x`, or with a last segment or more below it `x.*`, or `*`. */
  topics?: readonly string[] | null;
}

export interface Options extends Filter {
  /** Where the server is, such as `https://hub.example/`; where this module came from by default. */
  url?: string | URL;
  /**
   * A token, or what gets one; it is asked before each attempt, so it can give a fresh one, and
   * again where it gives none within a minute.
   */
  token?: string | null | (() => string | null | Promise<string | null>);
  /** `auto`, the default, takes Server-Sent Events where WebSockets do not come through. */
  transport?: "auto" | Transport;
  /**
   * Begin after this event, or with `earliest` at the beginning. The connection is not shared in
   * the page, and with other tabs only when it has met them.
   */
  lastEventId?: string | null;
  /**
   * Where the position is kept: `session` survives a reload of the page, where the browser lets it
   * keep something. `memory` by default. Connections of one page that are not shared need a `group`
   * each, or they keep one position.
   */
  resume?: "memory" | "session";
  /**
   * Whether to use the connection that this page has already. True by default. With `tabs`, all
   * tabs of the origin that want the same have one connection.
   */
  share?: boolean | "tabs";
  /**
   * Tells apart what must not be shared: with `share: "tabs"` the user, where `token` is a function
   * and tabs may be of different users; with `resume: "session"` the position.
   */
  group?: string | null;
  /**
   * Longer silence than this, in milliseconds, is looked into. 75,000 by default. Of clients with
   * one connection the first decides, here and for `pongWait`.
   */
  quiet?: number;
  /** How long a connection may take to open, or to answer, in milliseconds. 10,000 by default. */
  pongWait?: number;
}

/** What one part of a page sees of the stream. */
export interface Client {
  readonly state: State;
  readonly transport: Transport | null;
  /** The position to resume from; null until the server was reached, `earliest` in an empty log. */
  readonly lastEventId: string | null;
  readonly filter: { types: string[] | null; topics: string[] | null };

  /** Calls `handler` with each event of this type; returns what takes it away again. */
  onEvent<Name extends keyof EventPayloads>(
    type: Name,
    handler: (event: EventOf<Name>) => void,
  ): () => void;
  /** Of all types with `*`; heartbeats and gaps are not among them. */
  onEvent(type: string, handler: (event: StoatEvent) => void): () => void;

  /** Calls `handler` where events cannot be had any more: load your data anew. */
  onGap(handler: (gap: EventOf<"gap">) => void): () => void;

  /** Calls `handler` with each change of state. */
  onState(handler: (change: StateChange) => void): () => void;

  /** Replaces the filters for what follows. */
  subscribe(filter?: Filter): void;

  /** Connects again now. */
  reconnect(): void;

  /** Leaves, and calls no handler any more; the connection ends with the last client of it. */
  close(): void;
}

/** Connects, or joins the connection that this page has already. */
export function connect(options?: Options): Client;
