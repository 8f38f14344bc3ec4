"""The steps of the pipeline, one folder each: thin, they call netslim."""
