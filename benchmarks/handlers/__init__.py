"""Workers that are measured, written as a team would write them. Their functions only record the event."""
