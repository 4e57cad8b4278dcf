"""`health:` of the YAML: what a new version on trial must prove."""
