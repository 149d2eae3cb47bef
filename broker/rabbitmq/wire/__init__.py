"""AMQP frames as bytes: the only place that touches what aiormq keeps to itself."""
