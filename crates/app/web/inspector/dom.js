/** Small helpers: finding and making elements, times as text, and asking the server. */

export const $ = (id) => document.getElementById(id);

/** Makes an element. Texts are texts: nothing that an event carries becomes markup. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { data = {}, ...others } = properties;
  Object.assign(element, others);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The name of an event's type, with a colour that is always the same for it, and the topic. */
export function title({ type, topic }) {
  const name = make("span", { className: "name", data: { kind: type } }, type);
  let hash = 7;
  for (const letter of type) hash = (hash * 31 + letter.charCodeAt(0)) % 360;
  name.style.setProperty("--hue", hash);
  // The space lets a line end there.
  if (topic) name.append(" ", make("span", { className: "topic" }, topic));
  return name;
}

/** The time of day, with milliseconds. */
export function clock(time) {
  const date = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const seconds = `${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return `${two(date.getHours())}:${two(date.getMinutes())}:${seconds}`;
}

/** Milliseconds, as short as they can be read. */
export function span(milliseconds) {
  if (milliseconds === 0) return "0 ms";
  if (milliseconds < 1) return `${milliseconds.toFixed(2)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

/** Milliseconds since 1970, with the microseconds that a `Date` does not have. */
export function instant(timestamp) {
  const micros = Number(timestamp.slice(20, 26)) || 0;
  return Date.parse(`${timestamp.slice(0, 19)}Z`) + micros / 1000;
}

const KEY = "stoat.token";
let kept = null;
try {
  kept = sessionStorage.getItem(KEY);
} catch {
  // A browser that keeps nothing for this page: it is asked for again after a reload.
}

/** The token of this tab, or null. */
export function token() {
  return kept;
}

export function setToken(value) {
  kept = value || null;
  try {
    if (kept) sessionStorage.setItem(KEY, kept);
    else sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

/** Asks the server, with the token where there is one. Throws where there is no answer. */
export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  const text = await response.text();
  return { ok: response.ok, status: response.status, body: parsed(text) };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    // Nothing, or what something between the page and the server says.
    return null;
  }
}

/** What is said where there was no answer. */
export function unreachable(error) {
  return `The server cannot be reached: ${error.message}`;
}

/** What an answer that is a refusal says. */
export function refusal({ status, body }) {
  return `${status}: ${body?.detail ?? "refused"}`;
}
