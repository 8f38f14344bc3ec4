"""Which channels of a network depend on each other, proven from one run on tensors without data.

trace           the entry: runs the network and returns its records
tracer          tensors without data; every operation of torch on them goes to its rule
rule, rules     how each operation treats channels
channel_state   the state of one tensor's channels
symbolic_size   sizes that the model reads from a shape
records         what the rules record
equivalence     equivalence classes of labels
graph           the dependency graph; its head explains the words
"""

from netslim.dependency.records import TraceRecords
from netslim.dependency.trace import trace

__all__ = ["TraceRecords", "trace"]
