"""What can be asked of a pipeline: apply, roll back, remove, recover, boot, export and import state, sweep."""
