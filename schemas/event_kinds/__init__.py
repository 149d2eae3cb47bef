"""The canonical events by what they are about. Import them from `hookline.schemas.events`."""
