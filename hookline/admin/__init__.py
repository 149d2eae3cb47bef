"""The operator's port: metrics and health of every role."""
