// The official JavaScript client, told what to do by a test: a line of JSON in, a line of JSON out.
//
// usage: node client.mjs URL TOKEN [TRANSPORT…]
// in:    {"id": 1, "emit": "subscribe", "payload": {…}}    {"id": 2, "cut": true}    {"id": 3, "transport": true}
// out:   {"connected": true}   {"disconnected": "reason"}   {"id": 1, "answer": {…}}   {"name": "event", "data": {…}}
//
// After a cut the library connects again by itself, and this program subscribes again to its topics with the number
// that it has seen last of each, as the documentation tells every client to.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, token, ...transports] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const topics = new Map();

const socket = io(url, {
  auth: { token },
  reconnectionDelay: 50,
  reconnectionDelayMax: 200,
  ...(transports.length > 0 && { transports }),
});

socket.on("connect", async () => {
  for (const [topic, { workspace, number }] of topics) {
    await socket.emitWithAck("subscribe", { workspace, topic, after: number });
  }
  say({ connected: true });
});
socket.on("connect_error", (error) => say({ refused: error.message, problem: error.data ?? null }));
socket.on("disconnect", (reason) => say({ disconnected: reason }));
socket.onAny((name, data) => {
  const topic = topics.get(data.topic);
  if (name === "event" && topic !== undefined) {
    topic.number = data.number;
  }
  say({ name, data });
});

for await (const line of createInterface({ input: process.stdin })) {
  const { id, emit, payload, cut, transport } = JSON.parse(line);
  if (cut) {
    // The transport alone, as when the network goes: the server hears nothing of it from the client.
    socket.io.engine.transport.ws.terminate();
    say({ id, answer: null });
  } else if (transport) {
    say({ id, answer: socket.io.engine.transport.name });
  } else {
    if (emit === "subscribe") {
      topics.set(payload.topic, { workspace: payload.workspace, number: payload.after ?? 0 });
    }
    socket.timeout(10000).emit(emit, payload, (error, answer) => say({ id, answer: error ? `${error}` : answer }));
  }
}
socket.disconnect();
