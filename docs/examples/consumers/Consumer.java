// Prints every new room. Put amqp-client and slf4j-api into lib, and run: java -cp 'lib/*' Consumer.java
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;

public class Consumer {
    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(Optional.ofNullable(System.getenv("AMQP_URL")).orElse("amqp://guest:guest@localhost"));
        Connection connection = factory.newConnection();
        var channel = connection.createChannel();
        channel.queueDeclare("rooms-java", true, false, false, Map.of("x-queue-type", "quorum"));
        channel.queueBind("rooms-java", "hookline.events", "*.*.room.created.*");
        channel.basicQos(100);
        channel.basicConsume("rooms-java", false, (tag, message) -> {
            var headers = message.getProperties().getHeaders();
            String body = new String(message.getBody(), StandardCharsets.UTF_8);
            System.out.println(headers.get("cloudEvents_type") + " " + headers.get("cloudEvents_subject") + " " + body);
            // After the work: an unacknowledged message is delivered again.
            channel.basicAck(message.getEnvelope().getDeliveryTag(), false);
        }, tag -> System.exit(1));
        System.err.println("waiting for events");
        Runtime.getRuntime().addShutdownHook(new Thread(() -> connection.abort()));
    }
}
