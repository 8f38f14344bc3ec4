"""The work of each pipeline step, as plain functions on paths.

The components run these in containers, tests call them directly. Every function reads artifacts, calls the
method, and writes its artifact completely or not at all. A step writes its measurements as a step record
(netslim.steps.step_record) into its artifact; `evaluate` makes the result of the pass from these records.
"""
