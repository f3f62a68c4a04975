"""What a log line and a span may say: one list of fields, logs and traces in which nothing else has a place. Pure, but for `otlp`."""
