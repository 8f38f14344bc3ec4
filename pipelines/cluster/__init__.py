"""Runs on a KFP backend: client, submission, resource profiles."""
