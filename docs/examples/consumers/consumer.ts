// Prints every new room. npm install amqplib tsx && npm install --save-dev @types/amqplib; npx tsx consumer.ts
import { connect } from "amqplib";

interface CloudEventHeaders {
  cloudEvents_id: string; // the same for every delivery of one event
  cloudEvents_type: string;
  cloudEvents_subject?: string;
}

async function main(): Promise<void> {
  const connection = await connect(process.env.AMQP_URL ?? "amqp://guest:guest@localhost");
  const channel = await connection.createChannel();
  await channel.assertQueue("rooms-ts", { durable: true, arguments: { "x-queue-type": "quorum" } });
  await channel.bindQueue("rooms-ts", "hookline.events", "*.*.room.created.*");
  await channel.prefetch(100);
  await channel.consume("rooms-ts", (message) => {
    if (message === null) throw new Error("the queue was deleted");
    const headers = message.properties.headers as unknown as CloudEventHeaders;
    console.log(headers.cloudEvents_type, headers.cloudEvents_subject, message.content.toString());
    channel.ack(message); // after the work: an unacknowledged message is delivered again
  });
  console.error("waiting for events");
  process.once("SIGTERM", () => void connection.close());
}

void main();
