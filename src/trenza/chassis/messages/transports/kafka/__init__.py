"""The transport over Kafka: a topic for each service that publishes, a consumer group for each service that subscribes."""

from trenza.chassis.messages.transports.kafka.transport import KafkaTransport

__all__ = ["KafkaTransport"]
