"""What happens in each conversation, read from Kafka once and handed to every connection that follows it."""
