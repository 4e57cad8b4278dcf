"""Kill reloader before and after every lasting effect, on the real kernel, and look at what is left."""
