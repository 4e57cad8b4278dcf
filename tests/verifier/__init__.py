"""Programs that the kernel refuses, each with the sentence its author must read; also the bench's corpus."""
