"""The rules, one module each, named ``fs<code>_<name>.py``."""
