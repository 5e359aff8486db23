import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.PollContext;
import io.confluent.parallelconsumer.reactor.ReactorProcessor;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Mono;
import reactor.util.retry.Retry;

/** Confluent's Parallel Consumer in KEY order on the same job as the other peers: call the model, publish, commit. */
public final class ParallelConsumer {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int CONCURRENCY = 50;
  private static final int RETRIES = 5;
  private static final Duration TIMEOUT = Duration.ofSeconds(8);

  private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
  private final URI model = URI.create(System.getenv("ANTHROPIC_BASE_URL") + "/v1/messages");
  private final String key = System.getenv("ANTHROPIC_API_KEY");
  private final String servers = System.getenv("FOREBAY_KAFKA");
  private final String prefix = System.getenv("FOREBAY_TOPIC_PREFIX");
  private final KafkaProducer<byte[], byte[]> producer =
      new KafkaProducer<>(
          Map.of("bootstrap.servers", servers, "acks", "all", "enable.idempotence", true),
          new ByteArraySerializer(),
          new ByteArraySerializer());

  public static void main(String[] args) throws Exception {
    ParallelConsumer worker = new ParallelConsumer();
    ReactorProcessor<byte[], byte[]> processor = new ReactorProcessor<>(worker.options());
    processor.subscribe(List.of(worker.prefix + ".requests"));
    processor.react(worker::answer);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> worker.close(processor)));
    System.out.println("{\"event\":\"peer.started\"}");
    Thread.currentThread().join();
  }

  private ParallelConsumerOptions<byte[], byte[]> options() {
    KafkaConsumer<byte[], byte[]> consumer =
        new KafkaConsumer<>(
            Map.of(
                "bootstrap.servers", servers,
                "group.id", "peers",
                "enable.auto.commit", false,
                "auto.offset.reset", "earliest",
                "session.timeout.ms", 6000,
                "heartbeat.interval.ms", 500),
            new ByteArrayDeserializer(),
            new ByteArrayDeserializer());
    return ParallelConsumerOptions.<byte[], byte[]>builder()
        .ordering(ProcessingOrder.KEY)
        .maxConcurrency(CONCURRENCY)
        .consumer(consumer)
        .build();
  }

  private Publisher<?> answer(PollContext<byte[], byte[]> context) {
    JsonNode turn = turn(context.getSingleConsumerRecord().value());
    if (turn == null) {
      return Mono.just("skipped"); // no turn; an empty publisher would never count as done
    }
    return ask(turn.get("text").asText())
        .retryWhen(Retry.backoff(RETRIES, Duration.ofMillis(500)).maxBackoff(Duration.ofSeconds(8)))
        .map(message -> reply(turn, message.get("id").asText(), "answered", textOf(message)))
        .onErrorResume(error -> Mono.just(reply(turn, UUID.randomUUID().toString(), "failed", String.valueOf(error))))
        .flatMap(reply -> publish(turn.get("conversation_id").asText(), reply));
  }

  private Mono<JsonNode> ask(String text) {
    byte[] body =
        bytes(
            Map.of(
                "model", "claude-haiku-4-5",
                "max_tokens", 1024,
                "messages", List.of(Map.of("role", "user", "content", text))));
    HttpRequest request =
        HttpRequest.newBuilder(model)
            .timeout(TIMEOUT)
            .header("x-api-key", key)
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofByteArray(body))
            .build();
    return Mono.defer(() -> Mono.fromFuture(http.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())))
        .map(ParallelConsumer::message);
  }

  private static JsonNode message(HttpResponse<byte[]> response) {
    if (response.statusCode() != 200) {
      throw new IllegalStateException("status " + response.statusCode());
    }
    try {
      return JSON.readTree(response.body());
    } catch (java.io.IOException damaged) {
      throw new java.io.UncheckedIOException(damaged);
    }
  }

  private Mono<RecordMetadata> publish(String conversation, byte[] reply) {
    byte[] name = conversation.getBytes(java.nio.charset.StandardCharsets.UTF_8);
    return Mono.create(
        sink ->
            producer.send(
                new ProducerRecord<>(prefix + ".replies", name, reply),
                (metadata, failure) -> {
                  if (failure == null) {
                    sink.success(metadata);
                  } else {
                    sink.error(failure);
                  }
                }));
  }

  private static byte[] reply(JsonNode turn, String id, String outcome, String text) {
    return bytes(
        Map.of(
            "turn_id", turn.get("turn_id").asText(),
            "conversation_id", turn.get("conversation_id").asText(),
            "reply_id", id,
            "outcome", outcome,
            "text", text));
  }

  private static String textOf(JsonNode message) {
    return message.get("content").get(0).get("text").asText();
  }

  private static JsonNode turn(byte[] value) {
    try {
      JsonNode turn = JSON.readTree(value);
      return turn.path("text").asText().isEmpty() ? null : turn;
    } catch (java.io.IOException damaged) {
      return null;
    }
  }

  private static byte[] bytes(Object fields) {
    try {
      return JSON.writeValueAsBytes(fields);
    } catch (java.io.IOException impossible) {
      throw new java.io.UncheckedIOException(impossible);
    }
  }

  private void close(ReactorProcessor<byte[], byte[]> processor) {
    processor.closeDontDrainFirst(Duration.ofSeconds(5));
    producer.close(Duration.ofSeconds(5));
  }
}
