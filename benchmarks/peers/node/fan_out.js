// One room on Node's socket.io: the same events, acknowledgements and payloads as Courtyard's socket API, with
// nothing behind them: no authentication, no database, no event log.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer((_request, response) => response.end());
const io = new Server(http, { transports: ["websocket"], serveClient: false });
const workspaceId = randomUUID();
const accountId = randomUUID();
let number = 0;

io.on("connection", (socket) => {
  socket.on("subscribe", ({ topic }, acknowledge) => {
    socket.join(topic);
    acknowledge({ data: { number, present: [] } });
  });

  socket.on("typing", ({ topic, typing }, acknowledge) => {
    socket.to(topic).emit("typing", { workspace_id: workspaceId, topic, account_id: accountId, typing });
    acknowledge({ data: null });
  });

  socket.on("chat.message.send", ({ conversation_id, text, client_message_id }, acknowledge) => {
    const topic = `chat.conversation:${conversation_id}`;
    const created_at = new Date().toISOString();
    number += 1;
    const message = {
      id: randomUUID(), conversation_id, number, author_id: accountId, text, client_message_id, created_at,
    };
    io.to(topic).emit("event", {
      workspace_id: workspaceId, topic, number, id: randomUUID(), name: "chat.message.sent",
      actor_id: accountId, data: { message }, created_at,
    });
    acknowledge({ data: message });
  });
});

http.listen(Number(process.env.PORT), "127.0.0.1");
