"""netslim on one GPU: is everything computed right, how fast is training, and the paper's Table 1.

`benchmarks/gpu.sh` runs the three parts one after the other within nine minutes.
"""
