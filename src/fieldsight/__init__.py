"""fieldsight."""
