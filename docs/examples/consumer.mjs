// Prints every new room, from RabbitMQ alone, without Hookline's Python: npm install amqplib; node consumer.mjs
import { connect } from "amqplib";

const connection = await connect(process.env.AMQP_URL ?? "amqp://guest:guest@localhost/");
const channel = await connection.createChannel();

// A queue of its own, which survives a restart of RabbitMQ. Bind only what you want: `*` is one word.
await channel.assertQueue("room-printer", { durable: true, arguments: { "x-queue-type": "quorum" } });
await channel.bindQueue("room-printer", "hookline.events", "*.*.room.created.*");
await channel.prefetch(100);

await channel.consume("room-printer", (message) => {
  if (message === null) throw new Error("the queue was deleted");
  const { headers } = message.properties; // a CloudEvent in binary mode; the body is what the provider sent
  console.log(headers.cloudEvents_type, headers.cloudEvents_subject, message.content.toString());
  channel.ack(message); // after the work: an unacknowledged message is delivered again
});
console.error("waiting for events");

process.once("SIGTERM", () => connection.close());
