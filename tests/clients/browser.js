// Chromium, driven line by line:
// {"id": N, "on": "page"|"context"|"cdp"|"keyboard"|"tabs", "call": METHOD, "args": [...]}
// on standard input, {"id": N, "value": ...} or {"id": N, "error": TEXT} on standard output, and
// {"said": TEXT} for what a page writes to its console or throws. `page`, `cdp` and `keyboard` are
// those of the tab that `tabs` chose last.
//
// Usage: browser.js PROGRAM PROFILE-FOLDER [ARGUMENT...]

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, profile, ...args] = process.argv.slice(2);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  args,
  headless: true,
  // Pages that are left go where they go for users.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 800 },
});
context.setDefaultTimeout(60_000);
context.on("console", (message) => say({ said: `${message.type()}: ${message.text()}` }));
context.on("weberror", (thrown) => say({ said: `thrown: ${thrown.error()}` }));

const all = [];
const add = async (page) => all.push({ page, keyboard: page.keyboard, cdp: await context.newCDPSession(page) });
const [page = await context.newPage()] = context.pages();
await add(page);
let current = all[0];

const tabs = {
  // Opens one and chooses it; says which it is.
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
say({ id: 0, value: true });

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, on, call, args } = JSON.parse(line);
    try {
      const target = { context, tabs, ...current }[on];
      const value = await target[call](...args);
      // Answers that are no plain values, such as that of `goto`, are not wanted.
      const plain = typeof value !== "object" || call === "evaluate" || on === "cdp";
      say({ id, value: plain ? (value ?? null) : null });
    } catch (error) {
      say({ id, error: String(error) });
    }
  })
  .on("close", () => context.close().finally(() => process.exit(0)));
