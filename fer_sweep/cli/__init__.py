"""The command line: signatures, printing and exit codes. Each command imports its worker when it is called."""
