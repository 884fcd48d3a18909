/** What a page asks for: options and filters. */

/** Longer silence than this is looked into. The server sends something every 30 s. */
const QUIET = 75_000;
/** How long the answer to a ping may take, and how long opening a connection. */
const PONG_WAIT = 10_000;

/** The token for the next attempt. */
export async function tokenOf(token) {
  return (typeof token === "function" ? await token() : token) || null;
}

/** The options of `connect`, with what holds where one is not given. */
export function settingsOf(options) {
  const own = import.meta.url.startsWith("http") ? new URL("/", import.meta.url) : undefined;
  const base = new URL(options.url ?? own ?? "/", location.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  base.search = base.hash = "";
  const group = options.group ?? null;
  const key = `stoat:${base.href}${group === null ? "" : `#${group}`}`;
  const storageKey = options.resume === "session" ? key : null;
  return {
    base,
    token: options.token ?? null,
    transport: options.transport ?? "auto",
    lastEventId: options.lastEventId ?? null,
    share: options.share ?? true,
    tabs: options.share === "tabs",
    group,
    quiet: options.quiet ?? QUIET,
    pongWait: options.pongWait ?? PONG_WAIT,
    storageKey,
    position: keptAs(storageKey),
  };
}

/** The position in the tab's storage; in memory alone where there is none or it is full. */
function keptAs(key) {
  const attempt = (what) => {
    if (key === null) return null;
    try {
      return what(sessionStorage);
    } catch {
      // A browser that keeps nothing for this page throws, also at the mere name.
      return null;
    }
  };
  return {
    read: () => attempt((storage) => storage.getItem(key)),
    write: (id) => attempt((storage) => storage.setItem(key, id)),
  };
}

export function filterOf({ types, topics }) {
  return { types: types ? [...types] : null, topics: topics ? [...topics] : null };
}

/** Whether a filter lets an event through, as the server says it. */
export function matches({ types, topics }, { type, topic }) {
  const below = (pattern) => pattern.endsWith(".*") && topic?.startsWith(pattern.slice(0, -1));
  const reaches = (pattern) => pattern === "*" || pattern === topic || below(pattern);
  return (types === null || types.includes(type)) && (topics === null || topics.some(reaches));
}
