"""The queue in between: RabbitMQ, and the embedded one (SQLite)."""
