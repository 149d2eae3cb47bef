"""The exchanges, queues and bindings on RabbitMQ, and what Hookline notes there about them."""
