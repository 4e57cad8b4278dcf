"""From a YAML file and its objects to what a pipeline asks for."""
