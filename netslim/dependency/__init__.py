"""Which channels of a network are the same channel, proven from one run on tensors without data.

classes     equivalence classes from pairs
channels    what is known of one tensor's channels
records       what the run collects
counts      channel counts that the model reads from a shape
traced      tensors without data, and the table of rules
layers, pointwise, joining, moving, pooling, selecting
            the rules, by what they do to channels
observe     the run
"""

from netslim.dependency.records import TraceRecords
from netslim.dependency.trace import trace

__all__ = ["TraceRecords", "trace"]
