"""What every request passes: access, parsing, admission, submission to Kafka, and problems."""
