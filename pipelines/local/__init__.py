"""Runs on this machine, with KFP's own local runners."""
