"""Files and folders: read by trusted walks, written atomically, locked."""
