"""The tracing rules, by what an operation does to channels."""
