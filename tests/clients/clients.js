// WebSocket clients made with `ws`: says on standard output, in JSON lines, what they get.
//
// Usage: clients.js URL COUNT SUBPROTOCOL,... . A line {"client": N, "send": TEXT} on standard input sends a text.

import { createInterface } from "node:readline";
import WebSocket from "ws";

const [url, count, offer] = process.argv.slice(2);
const say = (client, what) => process.stdout.write(`${JSON.stringify({ client, ...what })}\n`);

const sockets = Array.from({ length: Number(count) }, (_, client) => {
  const socket = new WebSocket(url, offer.split(",").filter(Boolean), { perMessageDeflate: false });
  socket.on("open", () => say(client, { open: socket.protocol || null }));
  socket.on("message", (data, binary) =>
    say(client, binary ? { binary: data.length } : { text: data.toString("utf8") }),
  );
  socket.on("error", (error) => say(client, { error: String(error) }));
  socket.on("close", (code, reason) => {
    say(client, { close: code === 1006 ? null : code, reason: reason.toString("utf8") });
    sockets[client] = null;
    if (sockets.every((other) => other === null)) process.exit(0);
  });
  return socket;
});

createInterface({ input: process.stdin }).on("line", (line) => {
  const { client, send } = JSON.parse(line);
  sockets[client].send(send);
});
