package peer;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;

/** A chat turn as benchmarks/load.py writes it. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Turn(
    @JsonProperty("turn_id") String turnId,
    @JsonProperty("conversation_id") String conversationId,
    String text) {

  /** 123 of "t-000123". */
  long sequence() {
    return Long.parseLong(turnId, 2, turnId.length(), 10);
  }
}
