package peer;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.annotation.JsonNaming;
import java.io.File;
import java.io.IOException;

/** What every engine is told; the same file as benchmarks/engine_contract.py. Times as their names say. */
@JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
@JsonIgnoreProperties(ignoreUnknown = true)
public record Contract(
    String bootstrap,
    String topic,
    String replyTopic,
    String group,
    int concurrency,
    double latencyMs,
    double jitter,
    int slowEvery,
    double slowS,
    long seed) {

  static final ObjectMapper JSON = new ObjectMapper();

  static Contract read(String path) throws IOException {
    return JSON.readValue(new File(path), Contract.class);
  }
}
