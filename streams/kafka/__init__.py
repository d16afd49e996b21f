"""Kafka: messages in through Faust, in-order acks, outcomes and dead letters out."""
