"""What each step of the pipeline does, as plain functions on paths.

The components wrap these in containers, tests call them directly. Every function reads artifacts, calls the
method, and writes artifacts that are whole or absent. What a step has to say about its work goes into its
evidence (netslim.steps.step_record), from which `evaluate` makes the pass's row.
"""
