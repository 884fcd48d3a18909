// Chromium, driven line by line:
// {"id": N, "on": "page"|"context"|"cdp"|"keyboard"|"tabs"|"machine", "call": METHOD, "args": [...]}
// on standard input, {"id": N, "value": ...} or {"id": N, "error": TEXT} on standard output, and
// {"said": TEXT} for what a page writes to its console or throws. `page`, `cdp` and `keyboard` are
// those of the tab that `tabs` chose last.
//
// It is started and left as users have it: Playwright's own way of starting keeps each tab visible
// and focused, so that none is ever hidden, held back or frozen.
//
// Usage: browser.js PROGRAM PROFILE-FOLDER [ARGUMENT...]

import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [program, profile, ...others] = process.argv.slice(2);
const args = [
  "--headless",
  "--no-sandbox",
  "--no-first-run",
  "--no-default-browser-check",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-extensions",
  "--disable-sync",
  "--password-store=basic",
  "--ignore-certificate-errors",
  "--remote-debugging-port=0",
  // It ends when this is closed: with this program, however that ends.
  "--remote-debugging-pipe",
  `--user-data-dir=${profile}`,
];
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const stdio = ["ignore", "ignore", "pipe", "pipe", "pipe"];
const child = spawn(program, [...args, ...others, "about:blank"], { stdio });
const ended = new Promise((end) => child.on("exit", end));
const endpoint = await new Promise((found, failed) => {
  let text = "";
  child.stderr.on("data", (piece) => {
    const match = /^DevTools listening on (\S+)$/m.exec((text += piece));
    if (match) found(match[1]);
  });
  child.on("error", failed);
  child.on("exit", () => failed(new Error(text)));
});
const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true });
const [context] = browser.contexts();
context.setDefaultTimeout(60_000);
context.on("console", (message) => say({ said: `${message.type()}: ${message.text()}` }));
context.on("weberror", (thrown) => say({ said: `thrown: ${thrown.error()}` }));

const all = [];
const add = async (page) => {
  await page.setViewportSize({ width: 1280, height: 800 });
  return all.push({ page, keyboard: page.keyboard, cdp: await context.newCDPSession(page) });
};
const [page = await context.newPage()] = context.pages();
await add(page);
let current = all[0];

const tabs = {
  // Opens one in front of the others and chooses it; says which it is.
  async open() {
    current = all[(await add(await context.newPage())) - 1];
    return all.length - 1;
  },
  choose(index) {
    current = all[index];
  },
  // Ends the process behind the tab.
  async crash() {
    const { page } = current;
    await Promise.all([page.waitForEvent("crash"), page.goto("chrome://crash").catch(() => {})]);
  },
};

// Its processes stand still, as on a machine that is suspended.
const machine = {
  suspend: () => processes().forEach((pid) => process.kill(pid, "SIGSTOP")),
  resume: () => processes().forEach((pid) => process.kill(pid, "SIGCONT")),
};

// The browser and all that it started.
function processes() {
  const parents = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      // The second field, a name in brackets, may contain anything.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(")").at(-1).split(" ");
      return [[Number(pid), Number(fields[2])]];
    } catch {
      return [];
    }
  });
  const found = [child.pid];
  for (const each of found) {
    found.push(...parents.filter(([, parent]) => parent === each).map(([pid]) => pid));
  }
  return found;
}

say({ id: 0, value: true });

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, on, call, args } = JSON.parse(line);
    try {
      const target = { context, tabs, machine, ...current }[on];
      const value = await target[call](...args);
      // Answers that are no plain values, such as that of `goto`, are not wanted.
      const plain = typeof value !== "object" || call === "evaluate" || on === "cdp";
      say({ id, value: plain ? (value ?? null) : null });
    } catch (error) {
      say({ id, error: String(error) });
    }
  })
  .on("close", async () => {
    machine.resume();
    const session = await browser.newBrowserCDPSession();
    session.send("Browser.close").catch(() => {});
    await ended;
    process.exit(0);
  });
