"""A run on a KFP backend as Argo holds it: its steps, and what ended them. For `finish` and for clients."""
