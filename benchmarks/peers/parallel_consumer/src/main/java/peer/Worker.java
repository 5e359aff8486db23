package peer;

import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.PollContext;
import io.confluent.parallelconsumer.reactor.ReactorProcessor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/**
 * Parallel Consumer in KEY order. The Reactor module, because the project's documentation recommends it over a
 * thread per call for high concurrency ("orders of magnitude higher concurrent processing").
 */
public final class Worker {
  private static final int BUFFERED_PER_CALL = 20;

  private final Contract contract;
  private final Calls calls;
  private final Producer<byte[], byte[]> producer;

  private Worker(Contract contract) {
    this.contract = contract;
    this.calls = new Calls(contract);
    this.producer = Clients.producer(contract);
  }

  public static void main(String[] args) throws Exception {
    Worker worker = new Worker(Contract.read(args[0]));
    ReactorProcessor<byte[], byte[]> processor = worker.processor();
    processor.subscribe(List.of(worker.contract.topic()));
    processor.react(worker::answer);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> worker.close(processor)));
    Thread.currentThread().join();
  }

  private ReactorProcessor<byte[], byte[]> processor() {
    var options =
        ParallelConsumerOptions.<byte[], byte[]>builder()
            .ordering(ProcessingOrder.KEY)
            .maxConcurrency(contract.concurrency())
            .commitMode(CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
            // Its default of twice the concurrency never grows in this module and starves on few busy keys.
            .messageBufferSize(BUFFERED_PER_CALL * contract.concurrency())
            .consumer(Clients.consumer(contract))
            .build();
    // Nothing in `answer` blocks: the default pool, made for blocking work, takes two thirds off the ceiling.
    return new ReactorProcessor<>(options, Schedulers::immediate);
  }

  private Publisher<?> answer(PollContext<byte[], byte[]> context) {
    byte[] key = context.getSingleConsumerRecord().key();
    Turn turn = parse(context.getSingleConsumerRecord().value());
    double seconds = calls.seconds(turn.sequence());
    Mono<RecordMetadata> published = publish(key, turn);
    return seconds == 0.0 ? published : Mono.delay(Duration.ofNanos((long) (seconds * 1e9))).then(published);
  }

  private Mono<RecordMetadata> publish(byte[] key, Turn turn) {
    return Mono.create(
        sink ->
            producer.send(
                new ProducerRecord<>(contract.replyTopic(), key, reply(turn)),
                (metadata, failure) -> {
                  if (failure == null) {
                    sink.success(metadata);
                  } else {
                    sink.error(failure);
                  }
                }));
  }

  private static Turn parse(byte[] value) {
    try {
      return Contract.JSON.readValue(value, Turn.class);
    } catch (IOException damaged) {
      throw new UncheckedIOException(damaged);
    }
  }

  private static byte[] reply(Turn turn) {
    try {
      return Contract.JSON.writeValueAsBytes(new Reply(turn.turnId(), turn.conversationId()));
    } catch (IOException impossible) {
      throw new UncheckedIOException(impossible);
    }
  }

  private void close(ReactorProcessor<byte[], byte[]> processor) {
    processor.closeDontDrainFirst(Duration.ofSeconds(5));
    producer.close(Duration.ofSeconds(5));
  }
}
