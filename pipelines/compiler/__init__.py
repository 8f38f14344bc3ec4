"""From a pipeline function to KFP's YAML: compile, shorten, check."""
