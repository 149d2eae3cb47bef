"""What `hookline check` looks at. Nothing here starts or changes anything."""
