// Reads a message as JSON from each line, and prints what the official SDK makes of it, also as JSON.
import { CloudEvent } from "cloudevents";
import { createInterface } from "node:readline";

const PREFIX = "cloudEvents_";

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, contentType, body } = JSON.parse(line);
  const attributes = Object.entries(headers)
    .filter(([name]) => name.startsWith(PREFIX))
    .map(([name, value]) => [name.slice(PREFIX.length), value]);
  const event = new CloudEvent({ ...Object.fromEntries(attributes), datacontenttype: contentType, data: body }); // strict
  console.log(JSON.stringify([event.id, event.source, event.type, event.subject ?? "", event.datacontenttype, event.data]));
}
