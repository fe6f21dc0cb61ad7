# The two commands a newcomer needs: `make demo` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test check fix venv browser bench clean

demo: venv  ## create -> agent -> report on procedural faces, no account and no network
	$(BIN)/python docs/demo.py

test: check  ## everything CI runs

venv: $(VENV)/ready
