"""What is pinned for a pipeline: the inventory, and folders that other users could change."""
