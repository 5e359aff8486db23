package peer;

import com.fasterxml.jackson.annotation.JsonProperty;

/** The answer to a turn. */
record Reply(
    @JsonProperty("turn_id") String turnId,
    @JsonProperty("conversation_id") String conversationId) {}
