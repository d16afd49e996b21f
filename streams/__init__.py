"""The worker and the command line. Only this package uses Kafka, the store and the environment; it imports no torch."""
