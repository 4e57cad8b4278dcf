"""Findings about the host and its pipelines, each with the command that repairs it. A check changes nothing."""
