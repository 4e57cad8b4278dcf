"""What is there: maps, programs and attachments of a pipeline, read and never changed."""
