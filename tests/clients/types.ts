// What a consumer writes, checked by the compiler: each expected error has to be one.

import { connect, type EventOf, type State } from "../../crates/app/web/stoat.js";

declare module "../../crates/app/web/stoat.js" {
  interface EventPayloads {
    "invoice.paid": { number: number };
  }
}

const client = connect({ types: ["invoice.paid"], token: async () => "secret", resume: "session" });

client.onEvent("invoice.paid", (event) => {
  const number: number = event.payload.number;
  const topic: string | undefined = event.topic;
  // @ts-expect-error: it is a number.
  const text: string = event.payload.number;
  return [number, topic, text];
});
client.onEvent("another.one", (event) => {
  const value: unknown = event.payload["anything"];
  // @ts-expect-error: nobody knows what it is.
  event.payload["anything"].length;
  return value;
});
const stop: () => void = client.onGap((gap: EventOf<"gap">) => gap.payload.reason === "lagged");
client.onState(({ state, delay }) => [state satisfies State, delay]);
client.subscribe({ types: null, topics: ["project.*"] });
// @ts-expect-error: a list is needed.
client.subscribe({ topics: "project.*" });
connect({ share: "tabs", group: "user-7" }).close();
// @ts-expect-error: all tabs, or none.
connect({ share: "windows" });
// @ts-expect-error: there is no such transport.
connect({ transport: "carrier pigeon" });
stop();
client.close();
