"""What is remembered on disk: records, blobs, terms of a trial, generations that may come back."""
