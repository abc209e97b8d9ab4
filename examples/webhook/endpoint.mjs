// A webhook endpoint: verifies the signature (Standard Webhooks), and drops repetitions.
//
// Reads the secret (whsec_...) from WEBHOOK_SECRET and the port from PORT (any free one by default). Prints the port,
// and then a line for each event.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// Seconds by which a delivery may differ from this clock. An older one may be a replay of a recorded delivery.
const TOLERANCE = 300;
const KEY = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");

// Replace this by a table with a time to live of a few days: the set is lost with the process.
const seen = new Set();

// Returns whether one of the signatures of a delivery is right and the delivery is recent.
function isGenuine(headers, body, now) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE) return false;
  const expected = createHmac("sha256", KEY).update(`${id}.${timestamp}.`).update(body).digest();
  // The header has several signatures, separated by blanks, while a secret is being replaced.
  return (headers["webhook-signature"] ?? "").split(" ").some((part) => {
    const [scheme, value = ""] = part.split(",");
    const signature = Buffer.from(value, "base64");
    return scheme === "v1" && signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!isGenuine(request.headers, body, Date.now() / 1000)) {
    response.writeHead(401).end();
    return;
  }
  const event = JSON.parse(body);
  if (!seen.has(event.id)) {
    console.log(event.type);
    seen.add(event.id);
  }
  // Rollcall repeats a delivery that is not answered with 2xx within 10 seconds. Store the event, answer, and work
  // afterwards.
  response.writeHead(204).end();
});

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(server.address().port));
