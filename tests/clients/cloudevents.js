// Publishes CloudEvents with the official library, in both of its modes.
//
// Usage: cloudevents.js URL, with a JSON array of them on standard input. Says on standard output, as a JSON
// array, the status and the body of each answer: for each event those of the binary and the structured mode.

import { readFileSync } from "node:fs";
import { CloudEvent, Mode, emitterFor } from "cloudevents";

const url = process.argv[2];
const send = async ({ headers, body }) => {
  const answer = await fetch(url, { method: "POST", headers, body });
  return { status: answer.status, replayed: answer.headers.get("Idempotency-Replayed"), body: await answer.json() };
};
const emitters = [Mode.BINARY, Mode.STRUCTURED].map((mode) => emitterFor(send, { mode }));

const answers = [];
for (const event of JSON.parse(readFileSync(0, "utf8"))) {
  for (const emit of emitters) answers.push(await emit(new CloudEvent(event)));
}
process.stdout.write(JSON.stringify(answers));
