"""The stream: the only folder that knows Kafka, the object store and the environment. Never imports torch."""
