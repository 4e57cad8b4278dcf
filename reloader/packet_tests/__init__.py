"""The YAML's packet tests, run on a shadow load with maps of its own."""
