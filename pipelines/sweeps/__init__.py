"""The pipelines of the paper's two studies: lambda, and the pruned percentage."""
