"""The compiler: a folder of notebooks becomes a static book, and the command line drives it."""
