/** The rate of events over two minutes, and how old they are when they arrive. */

import { $, instant, span } from "./dom.js";

const SECONDS = 120;
const SAMPLES = 500;

const counts = new Array(SECONDS).fill(0);
let current = 0;
let seen = 0;
/** When the finer clock began, by the other. */
let origin = performance.timeOrigin;
const ages = [];

/** Counts an event. */
export function add(event) {
  current += 1;
  seen += 1;
  // By the clocks of two machines: it cannot be younger than nothing.
  ages.push(Math.max(0, origin + performance.now() - instant(event.timestamp)));
  if (ages.length > SAMPLES) ages.shift();
}

export function begin() {
  setInterval(tick, 1000);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", draw);
  draw();
}

function tick() {
  // It stands still while the machine sleeps, and does not follow when the other is set.
  const now = Date.now() - performance.now();
  if (Math.abs(now - origin) > 50) origin = now;
  counts.shift();
  counts.push(current);
  current = 0;
  $("rate").textContent = counts.at(-1);
  $("seen").textContent = seen.toLocaleString("en");
  if (ages.length > 0) {
    const sorted = [...ages].sort((a, b) => a - b);
    const at = (part) => span(sorted[Math.floor((sorted.length - 1) * part)]);
    $("p50").textContent = at(0.5);
    $("p95").textContent = at(0.95);
  }
  draw();
}

function draw() {
  const canvas = $("chart");
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  // A canvas does not know the page's variables.
  const color = (name) => {
    canvas.style.color = `var(${name})`;
    return getComputedStyle(canvas).color;
  };
  const most = Math.max(...counts);
  const step = width / SECONDS;
  // The text of the greatest rate stands above the bars.
  const room = height - 16;
  context.fillStyle = color("--line");
  context.fillRect(0, height - 1, width, 1);
  context.fillStyle = color("--accent");
  counts.forEach((count, at) => {
    const bar = (count / Math.max(most, 1)) * room;
    context.fillRect(at * step, height - bar, Math.max(step - 1, 1), bar);
  });
  context.fillStyle = color("--soft");
  context.font = "12px system-ui, sans-serif";
  context.fillText(`${most} / s`, 0, 11);
  const sum = counts.reduce((all, count) => all + count, 0);
  const text = `${counts.at(-1)} events in the last second, ${sum} in the last two minutes.`;
  canvas.setAttribute("aria-label", text);
}
