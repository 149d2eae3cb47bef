"""The operator's port: metrics, health and inspector of every role."""
